package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/jobs"
)

func (a *app) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE",
		Short: "Check a job file and the files that it names, without a network",
		Args:  exactArgs("a job file, or - for standard input"),
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := readFile(a.in, args[0])
			if err != nil {
				return err
			}
			name, dir := args[0], filepath.Dir(args[0])
			if name == "-" {
				name, dir = "stdin", ""
			}
			file, err := jobs.Parse(name, data)
			if err != nil {
				return err
			}
			refs := file.Refs()
			for _, ref := range refs {
				if err := checkRef(ref, dir); err != nil {
					return err
				}
			}
			title := file.Name
			if title == "" {
				title = file.Program()
			}
			return a.show(view{data: file, names: []string{title}, table: func(w io.Writer, _ bool) {
				fmt.Fprintf(w, "%s   %s   %s named\n", a.style(w).good("valid"), title, plural(len(refs), "local file"))
			}})
		},
	}
}

// checkRef looks whether a file that a job names is there.
func checkRef(ref jobs.Ref, dir string) error {
	path, ok := ref.Text.Path()
	if !ok {
		return nil
	}
	if path = filepath.FromSlash(path); !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if _, err := os.Stat(path); err != nil {
		return &jobs.Problem{Code: jobs.CodeSpecFile, What: fmt.Sprintf("%s: %s: %s", ref.At, ref.Text, plainPath(err)),
			Try: "paths start at the job file's folder"}
	}
	return nil
}
