// Command check finds out whether what factor left is a factor of the number: by
// one division, where factor made thousands of steps.
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

func main() {
	text, err := os.ReadFile("/in/result/stdout")
	if err == nil {
		err = check(os.Getenv("MUSTER_END"), os.Args[1], string(text))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(end, number, result string) error {
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return err
	}
	d, err := strconv.ParseUint(strings.TrimSuffix(result, "\n"), 10, 64)
	if err != nil || end != "result" || d <= 1 || d >= n || n%d != 0 {
		return fmt.Errorf("%.40q, which ended as %s, is no factor of %d", result, end, n)
	}
	return nil
}
