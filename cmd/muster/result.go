package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/jobs"
)

// The names that a result folder holds: the result tree, and its certificate.
const certificateName = "job.cert"

func resultNames() []string { return []string{"out", "stdout", "stderr", "exit", certificateName} }

// tasksName is the folder of an array's results, each under its task's name.
const tasksName = "tasks"

func (a *app) resultCommand() *cobra.Command {
	var dir, bundle, task string
	var force bool
	c := &cobra.Command{
		Use:   "result JOB",
		Short: "Fetch a job's certified result",
		Long: "Result verifies the certificate and every byte against it. Without -o the\n" +
			"program's output is written; with -o DIR the whole result: out/, stdout,\n" +
			"stderr, exit and the certificate, job.cert. Of an array job, the output of all\n" +
			"tasks in their order, or the result of each in DIR/tasks/NAME; with --task, that\n" +
			"of one task, and in DIR the file that proves it, task-INDEX.proof.",
		Example: "  muster result b..9zt1\n  muster result b..9zt1 -o result/ && muster verify result/job.cert\n" +
			"  muster result b..9zt1 --task page-17.html -o page/ && muster verify page/task-17.proof",
		Args:              exactArgs("a job id, a request id, or a prefix of one"),
		ValidArgsFunction: a.completeJobs,
	}
	c.Flags().StringVarP(&dir, "output", "o", "", "folder to write the result into")
	c.Flags().StringVar(&task, "task", "", "one task of an array job: its name, or its index from 0")
	c.Flags().StringVar(&bundle, "bundle", "", "file to write certificate, roll and output into, for verify")
	c.Flags().BoolVar(&force, "force", false, "replace a result that is there")
	c.RunE = a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
		cert, err := c.Certificate(ctx, args[0])
		if err != nil {
			return err
		}
		if bundle != "" {
			if err := a.saveBundle(ctx, c, cert, bundle, force); err != nil || dir == "" {
				return err
			}
		}
		if task != "" || cert.IsArray() {
			return a.arrayResult(ctx, c, cert, task, dir, force)
		}
		result, has := cert.Result()
		if dir == "" {
			if !has {
				return noResult(cert)
			}
			return c.ReadFile(ctx, cert, "stdout", a.out)
		}
		fill := func(partial string) error {
			if !has {
				return nil
			}
			return c.ReadTree(ctx, cert, partial)
		}
		if err := fetch(cert, dir, force, resultNames(), fill); err != nil {
			return err
		}
		if !has {
			return noResult(cert)
		}
		a.say("%s in %s   Next: %s verify %s", resultWords(result), dir, a.muster(), filepath.Join(dir, certificateName))
		return nil
	})
	return c
}

// saveBundle writes the bundle into a file, once it has verified.
func (a *app) saveBundle(ctx context.Context, c *client.Client, cert client.Certified, path string, force bool) error {
	const try = "another name, or --force to replace it"
	if err := mayWrite(path, force, try); err != nil {
		return err
	}
	data, err := c.Bundle(ctx, cert)
	if err != nil {
		return err
	}
	genesis, err := c.Genesis(ctx)
	if err != nil {
		return err
	}
	bundle, err := client.VerifyBundle(bytes.NewReader(data), genesis)
	if err != nil {
		return err
	}
	if bundle.Verdict.Job != cert.Verdict.Job {
		return &jobs.Problem{Code: jobs.CodeCertificate, What: "the bundle is of another job", Why: fmt.Sprintf("it is about job %s", bundle.Verdict.Job),
			Try: "trust nothing that this node says; ask another peer"}
	}
	if err := writeFile(path, data, force, try); err != nil {
		return err
	}
	a.say("bundle in %s   Next: %s verify %s", path, a.muster(), path)
	return nil
}

func noResult(cert client.Certified) error {
	return &jobs.Problem{Code: jobs.CodeNotFound, What: "the job has no result", Why: "it ended " + cert.Verdict.Value.String(),
		Try: "muster status " + jobs.Short(cert.Verdict.Job.String())}
}

// fetch has a result filled into dir, beside its certificate: into a folder of
// its own first, so that what is there under the names is whole, or not there.
func fetch(cert client.Certified, dir string, force bool, names []string, fill func(partial string) error) error {
	if !force {
		for _, name := range names {
			if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
				return &jobs.Problem{Code: jobs.CodeConflict, What: filepath.Join(dir, name) + " is there already",
					Try: "another folder, or --force to replace the result in it"}
			}
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	partial, err := os.MkdirTemp(dir, ".partial-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(partial) }()
	if err := fill(partial); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(partial, certificateName), cert.Bytes, 0o644); err != nil {
		return err
	}
	for _, name := range names {
		to := filepath.Join(dir, name)
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(partial, name), to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("put the result in place: %w", err)
		}
	}
	return nil
}
