package main

import (
	"charm.land/lipgloss/v2"
)

// style colours words on a terminal, and leaves them alone elsewhere.
type style struct{ on bool }

// style returns how to write to w: with colour on a terminal, unless NO_COLOR
// is set.
func (a *app) style(w any) style {
	no, _ := a.set.env("NO_COLOR")
	dumb, _ := a.set.env("TERM")
	return style{on: no == "" && dumb != "dumb" && terminal(w)}
}

func (s style) paint(text string, look lipgloss.Style) string {
	if !s.on {
		return text
	}
	return look.Render(text)
}

func (s style) good(text string) string {
	return s.paint(text, lipgloss.NewStyle().Foreground(lipgloss.Green))
}
func (s style) bad(text string) string {
	return s.paint(text, lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true))
}
func (s style) faint(text string) string { return s.paint(text, lipgloss.NewStyle().Faint(true)) }

// state colours a state by what it means.
func (s style) state(text string) string {
	switch text {
	case "succeeded", "alive", "ready":
		return s.good(text)
	case "failed", "refused":
		return s.bad(text)
	case "cancelled", "silent", "away":
		return s.faint(text)
	}
	return plain(text)
}
