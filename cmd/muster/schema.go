package main

import (
	"github.com/spf13/cobra"

	"github.com/muster-network/muster/jobs"
)

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of job files, for editors",
		Example: "  muster schema > muster.schema.json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := a.out.Write(jobs.Schema())
			return err
		},
	}
}
