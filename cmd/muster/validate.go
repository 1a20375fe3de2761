package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api/client"
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
			if bytes.HasPrefix(data, []byte(magic)) {
				return &jobs.Problem{Code: jobs.CodeSpecSyntax, What: args[0] + " is a WebAssembly module, not a job file",
					Try: "muster run " + args[0]}
			}
			name, dir := args[0], filepath.Dir(args[0])
			if name == "-" {
				name, dir = "stdin", ""
			}
			file, err := jobs.Parse(name, data)
			if err != nil {
				return err
			}
			checked := 0
			for _, ref := range file.Refs() {
				local, err := checkRef(ref, dir)
				if err != nil {
					return err
				}
				if local {
					checked++
				}
			}
			title := file.Name
			if title == "" {
				title = file.Program()
			}
			return a.show(view{data: file, names: []string{title}, table: func(w io.Writer, _ bool) {
				fmt.Fprintf(w, "%s   %s   %s found\n", a.style(w).good("valid"), plain(title), plural(checked, "file"))
			}})
		},
	}
}

// checkRef looks whether a file that a job names is there, and tells whether
// the reference is one to a file.
func checkRef(ref jobs.Ref, dir string) (bool, error) {
	path, ok := ref.Text.Path()
	if !ok {
		return false, nil
	}
	if path = filepath.FromSlash(path); !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if ref.Each {
		_, err := client.Matches(path)
		return true, err
	}
	if _, err := os.Stat(path); err != nil {
		return true, &jobs.Problem{Code: jobs.CodeSpecFile, What: fmt.Sprintf("%s: %s: %s", ref.At, ref.Text, plainPath(err)),
			Try: "paths start at the job file's folder"}
	}
	return true, nil
}
