package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Show and change settings", Args: noSuchCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(
		&cobra.Command{Use: "get KEY", Short: "Print a setting", Args: exactArgs("a setting"), ValidArgsFunction: completeSettings,
			RunE: func(_ *cobra.Command, args []string) error {
				if err := checkKey(args[0]); err != nil {
					return err
				}
				r := a.set.resolve(args[0])
				data := struct {
					Schema string `json:"schema"`
					explained
				}{"muster.setting/v1", explained{r.key, r.value, r.source, about(args[0])}}
				return a.show(view{data: data, names: []string{r.value}, table: func(w io.Writer, _ bool) { fmt.Fprintln(w, r.value) }})
			}},
		&cobra.Command{Use: "set KEY VALUE", Short: "Write a setting into the user's file", ValidArgsFunction: completeSettings,
			Args: func(c *cobra.Command, args []string) error {
				if len(args) != 2 {
					return usage(c.CommandPath()+" takes a setting and its value", c.CommandPath()+" --help")
				}
				return nil
			},
			RunE: func(_ *cobra.Command, args []string) error { return a.setConfig(args[0], args[1]) }},
		&cobra.Command{Use: "explain", Short: "Show every setting, and where its value came from", Args: noArgs,
			RunE: func(*cobra.Command, []string) error { return a.explainConfig() }},
	)
	return c
}

func completeSettings(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var keys []string
	for _, k := range known() {
		keys = append(keys, cobra.CompletionWithDesc(k.key, k.about))
	}
	return keys, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) setConfig(key, text string) error {
	if err := checkSetting(key, text); err != nil {
		return err
	}
	path := a.set.userFile()
	values, err := readConfig(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if values == nil {
		values = map[string]string{}
	}
	values[key] = text
	var lines []byte
	for _, k := range known() { // in the order of explain
		if v, ok := values[k.key]; ok {
			line, err := yaml.Marshal(map[string]string{k.key: v})
			if err != nil {
				return err
			}
			lines = append(lines, line...)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", lines, 0o600); err != nil { // it may hold a token
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	a.say("%s in %s", key, path)
	return nil
}

// explained is a setting as JSON shows it. A token is not shown.
type explained struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"`
	About  string `json:"about"`
}

func (a *app) explainConfig() error {
	data := struct {
		Schema   string      `json:"schema"`
		Settings []explained `json:"settings"`
	}{Schema: "muster.config/v1"}
	v := view{}
	for _, k := range known() {
		r := a.set.resolve(k.key)
		if k.key == keyToken && r.value != "" {
			r.value = "(hidden)"
		}
		data.Settings = append(data.Settings, explained{k.key, r.value, r.source, k.about})
		v.names = append(v.names, k.key)
	}
	v.data = data
	v.table = func(w io.Writer, wide bool) {
		t := table{head: []string{"KEY", "VALUE", "FROM"}}
		if wide {
			t.head = append(t.head, "ABOUT")
		}
		for _, e := range data.Settings {
			row := []string{e.Key, dash(e.Value), e.Source}
			if wide {
				row = append(row, e.About)
			}
			t.rows = append(t.rows, row)
		}
		t.write(w, a.style(w))
	}
	return a.show(v)
}
