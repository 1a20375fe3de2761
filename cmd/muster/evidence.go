package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

func (a *app) evidenceCommand() *cobra.Command {
	var save string
	c := &cobra.Command{
		Use:   "evidence [JOB|PEER|ID]",
		Short: "Show which nodes did wrong, provably",
		Long: "Evidence lists what can be proven against nodes of the network. One that signed\n" +
			"two things in one slot (equivocation) is not drawn again by anybody who holds\n" +
			"the evidence. One whose report is not what was certified (disagreement) may have\n" +
			"a broken machine: it is shown, and nothing follows from it.\n\n" +
			"With --save a piece of evidence goes into a file, which muster verify checks\n" +
			"offline.",
		Example: "  muster evidence moss-crow\n  muster evidence b..9zt1 --save lie.evidence && muster verify lie.evidence",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage(c.CommandPath()+" takes one argument at most: a job, a peer, or the id of evidence", c.CommandPath()+" --help")
			}
			return nil
		},
		ValidArgsFunction: a.completeJobs,
	}
	c.Flags().StringVar(&save, "save", "", "file to write the one piece of evidence into, for verify")
	c.RunE = a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
		of := ""
		if len(args) == 1 {
			of = args[0]
		}
		list, err := c.Evidence(ctx, of)
		if err != nil {
			return err
		}
		if save != "" {
			return a.saveEvidence(ctx, c, list, save)
		}
		if len(list.Evidence) == 0 && !a.machine() {
			a.say("nothing is proven against anybody here")
			return nil
		}
		return a.show(evidenceView(a, list))
	})
	return c
}

func (a *app) saveEvidence(ctx context.Context, c *client.Client, list api.EvidenceList, path string) error {
	if len(list.Evidence) != 1 {
		return usage(fmt.Sprintf("%d pieces of evidence, and one file", len(list.Evidence)), "the id of one: muster evidence -o name")
	}
	const try = "another file"
	if err := mayWrite(path, false, try); err != nil {
		return err
	}
	proven, err := c.EvidenceFile(ctx, list.Evidence[0].ID)
	if err != nil {
		return err
	}
	if err := writeFile(path, proven.Bytes, false, try); err != nil {
		return err
	}
	a.say("%s of %s in %s   Next: %s verify %s", proven.Finding.Misconduct, proven.Finding.Peer.Name(), path, a.muster(), path)
	return nil
}

// evidenceView shows pieces of evidence, a line each; one alone also in words.
func evidenceView(a *app, list api.EvidenceList) view {
	v := view{data: list, table: func(w io.Writer, wide bool) {
		t := table{head: []string{"EVIDENCE", "MISCONDUCT", "PEER", "JOB", "FOUND", "DRAWN", "WHAT"}}
		for _, e := range list.Evidence {
			drawn, id, job := "yes", jobs.Short(e.ID), jobs.Short(e.Job)
			if e.Barred {
				drawn = "no more"
			}
			if wide {
				id, job = e.ID, e.Job
			}
			found := age(since(e.Found, time.Now().UnixMilli())) + " ago"
			t.rows = append(t.rows, []string{id, e.Misconduct, e.Name, job, found, drawn, misdeedWords(e)})
		}
		t.write(w, a.style(w))
	}}
	for _, e := range list.Evidence {
		v.names = append(v.names, e.ID)
	}
	return v
}

// misdeedWords say what was done.
func misdeedWords(e api.Evidence) string {
	if e.Reported != "" {
		return disagreementWords(e.Reported, e.Certified)
	}
	return equivocationWords(e.Statement, e.Round)
}

// findingView shows what verify found in a file of evidence.
func findingView(a *app, f consensus.Finding) view {
	data := struct {
		Schema     string `json:"schema"`
		Valid      bool   `json:"valid"`
		Misconduct string `json:"misconduct"`
		Peer       string `json:"peer"`
		Name       string `json:"name"`
		Network    string `json:"network"`
		Job        string `json:"job"`
		What       string `json:"what"`
	}{"muster.finding/v1", true, f.Misconduct.String(), f.Peer.String(), f.Peer.Name(), f.Network.String(), f.Job.String(), findingWords(f)}
	return view{data: data, names: []string{data.Peer}, table: func(w io.Writer, wide bool) {
		fmt.Fprintf(w, "%s, checked offline   %s by %s: %s\n", a.style(w).good("VALID"), data.Misconduct, data.Name, data.What)
		if wide {
			for _, part := range [][2]string{{"peer", data.Peer}, {"job", data.Job}, {"network", data.Network}} {
				fmt.Fprintf(w, "%-8s %s\n", part[0], part[1])
			}
		}
		if f.Misconduct == consensus.Disagreed {
			fmt.Fprintln(w, "Not proved: that it lied; its machine may be broken.")
		}
	}}
}

func findingWords(f consensus.Finding) string {
	if f.Misconduct == consensus.Disagreed {
		return disagreementWords(f.Reported.String(), f.Certified.String())
	}
	return equivocationWords(f.Kind.String(), f.Round)
}

func equivocationWords(statement string, round uint32) string {
	return fmt.Sprintf("signed two %s statements in round %d", statement, round)
}

func disagreementWords(reported, certified string) string {
	words := strings.Fields("reported " + reported + ", certified " + certified)
	for i, word := range words {
		words[i] = brief(strings.TrimSuffix(word, ","))
		if strings.HasSuffix(word, ",") {
			words[i] += ","
		}
	}
	return strings.Join(words, " ")
}
