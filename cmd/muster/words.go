package main

import (
	"fmt"
	"strings"
	"time"
)

// brief writes an id for a sentence: bafy...9zt1. Like jobs.Short's form, it is
// understood again.
func brief(id string) string {
	const head, tail = 4, 4
	if !strings.HasPrefix(id, "baf") || len(id) <= head+tail {
		return id
	}
	return id[:head] + "..." + id[len(id)-tail:]
}

// seconds writes a time as people say it: 0.04 s, 6.2 s, 3 min 20 s.
func seconds(d time.Duration) string {
	switch {
	case d < 0:
		return "-"
	case d < time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	d = d.Round(time.Second)
	return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
}

// age writes how long ago something was: 4s, 3m, 2h, 5d.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// since is the time between two moments in Unix milliseconds.
func since(from, to int64) time.Duration { return time.Duration(to-from) * time.Millisecond }

// cores writes thousandths of a core: 6, 1.5, 0.1.
func cores(milli uint64) string {
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.3f", float64(milli)/1000), "0"), ".")
}

// bytesOf writes a size with a binary unit: 512 B, 1.5 MiB.
func bytesOf(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	size, i := float64(n), 0
	for size >= 1024 && i < len(units)-1 {
		size, i = size/1024, i+1
	}
	if i == 0 || size == float64(int64(size)) {
		return fmt.Sprintf("%d %s", int64(size), units[i])
	}
	return fmt.Sprintf("%.1f %s", size, units[i])
}

// plural counts: 1 use, 2 uses.
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// percent writes a share: 100 %, 98.7 %.
func percent(share float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", share*100), ".0") + " %"
}

// dash stands for what is not known.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
