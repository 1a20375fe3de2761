package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/node"
)

func (a *app) verifyCommand() *cobra.Command {
	var genesis, result, task string
	c := &cobra.Command{
		Use:   "verify FILE|JOB",
		Short: "Check a certificate, bundle, proof of a task or evidence, offline",
		Long: "Verify checks a certificate, a bundle, the proof of one task of an array job, or\n" +
			"evidence of misconduct with nothing but the network's genesis: no network, no\n" +
			"clock. The genesis is FILE of --network, else that of the network this machine\n" +
			"is in. A result beside the certificate is checked against it; a bundle holds its\n" +
			"result, and says how each task ended. A job id fetches the certificate from the\n" +
			"node first.",
		Example:           "  muster verify result/job.cert --network lab.genesis",
		Args:              exactArgs("a file with a certificate, bundle or evidence, or a job id"),
		ValidArgsFunction: a.completeJobs,
	}
	c.Flags().StringVar(&genesis, "network", "", "the network's genesis (muster network genesis)")
	c.Flags().StringVar(&task, "task", "", "of a bundle of an array job, one task: its name, or its index from 0")
	c.Flags().StringVar(&result, "result", "", "folder of the result; default: the certificate's, if one is there")
	c.RunE = func(command *cobra.Command, args []string) error {
		v := verification{Schema: "muster.verification/v1", Draw: "not checked"}
		trusted, err := a.genesis(genesis)
		if err != nil {
			return err
		}
		data, offline, err := a.certificate(command.Context(), args[0], trusted)
		if err != nil {
			return err
		}
		v.Offline = offline
		if client.IsEvidence(data) {
			finding, err := client.VerifyEvidence(data, trusted)
			if err != nil {
				return err
			}
			return a.show(findingView(a, finding))
		}
		verdict, err := v.check(data, trusted, task)
		if err != nil {
			return err
		}
		v.fill(verdict)
		if result == "" && offline && (v.Task != nil || !verdict.Value.IsArray()) {
			result = resultBeside(args[0])
		}
		if err := v.checkResult(command.Context(), result, verdict.Value.IsArray()); err != nil {
			return err
		}
		return a.show(v.view(a))
	}
	return c
}

// verification is what verify found, as JSON shows it.
type verification struct {
	Schema  string `json:"schema"`
	Valid   bool   `json:"valid"`
	Offline bool   `json:"offline"` // no node was asked
	Network string `json:"network"`
	Job     string `json:"job"`
	Outcome string `json:"outcome"`
	Result  string `json:"result,omitempty"`
	Signed  int    `json:"signed"`
	Size    int    `json:"size"`
	Faults  int    `json:"faults"`
	Fault   string `json:"fault"`
	Round   int    `json:"round"`
	Class   string `json:"class"`

	Assurance string `json:"assurance"`
	Effects   string `json:"effects,omitempty"` // of a task that acts on the world

	Matches string      `json:"matches,omitempty"` // the folder that was compared with the result
	Draw    string      `json:"draw"`
	Bundle  bool        `json:"bundle,omitempty"` // the file holds the output, and it is the certified one
	Task    *provenTask `json:"task,omitempty"`   // the one proven, or asked for, of an array
	Signers []string    `json:"signers"`
	Limits  []string    `json:"not_proved"`

	Replaced []jobs.Replaced  `json:"replaced,omitempty"` // members that lost their seats before the end
	Array    *jobs.ArrayState `json:"array,omitempty"`    // how the tasks ended, if the file says it
}

// provenTask is what the proof of a task says beside the certificate in it.
type provenTask struct {
	Index   uint64 `json:"index"`
	Name    string `json:"name"`
	Of      uint64 `json:"of"` // tasks
	Outcome string `json:"outcome"`
	Result  string `json:"result,omitempty"`
}

// limits are what no certificate proves, and what one under this assurance does
// not.
func limits(a consensus.Assurance, effects consensus.Effects, replaced bool) []string {
	list := []string{
		"that members are independently owned",
		"that no credential was revoked since",
		"that the submitter tried no other draw",
	}
	if replaced {
		list = append(list, "that a reserve passed over had refused")
	}
	switch a {
	case consensus.Single:
		list = append(list, "that the member that ran it is right")
		if effects != "" {
			list = append(list, "that it acted exactly once, unless what it acts on refuses older runs")
		}
	case consensus.MajorityEqual:
		list = append(list, "that runs left the same bytes")
	case consensus.Endorsed:
		list = append(list, "that the result is right, but for what the check finds")
	}
	return list
}

// certificate reads the file, or fetches it when the name is a job's, from a node of
// the network that a genesis founds.
func (a *app) certificate(ctx context.Context, name string, genesis []byte) (data []byte, offline bool, err error) {
	data, err = os.ReadFile(name)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return data, true, err
	}
	if isPath(name) {
		return nil, true, &jobs.Problem{Code: jobs.CodeNotFound, What: name + " is not there", Try: "muster result JOB -o result/"}
	}
	c, err := a.clientOf(genesis)
	if err != nil {
		return nil, false, err
	}
	defer c.Close()
	cert, err := c.Certificate(ctx, name)
	return cert.Bytes, false, err
}

// isPath reports whether a name can be no job's: no id has a slash, or a dot but
// the two of a short one.
func isPath(name string) bool {
	return strings.ContainsRune(name, filepath.Separator) || strings.ContainsRune(name, '.') && !strings.Contains(name, "..")
}

// genesis reads what a certificate is judged by: the file that was given, or
// this machine's own. What a node says does not count.
func (a *app) genesis(path string) ([]byte, error) {
	if path == "" {
		home, err := a.home()
		if err != nil {
			return nil, err
		}
		data, err := node.GenesisFile(home)
		if p := new(jobs.Problem); errors.As(err, &p) {
			return nil, &jobs.Problem{Code: p.Code, What: "which network's certificate is this?", Why: p.Why,
				Try: "--network FILE, with the genesis from somebody you trust (muster network genesis)"}
		}
		return data, err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &jobs.Problem{Code: jobs.CodeNotFound, What: path + " is not there", Try: "muster network genesis > " + path}
	}
	return data, err
}

// home is this machine's data folder, or that of the testnet's first node.
func (a *app) home() (string, error) {
	if a.testnet {
		return a.testnetHome()
	}
	return a.set.get(keyHome), nil
}

// resultBeside is the certificate's folder when a result is in it.
func resultBeside(certificate string) string {
	dir := filepath.Dir(certificate)
	if info, err := os.Stat(filepath.Join(dir, "out")); err != nil || !info.IsDir() {
		return ""
	}
	if _, err := os.Stat(filepath.Join(dir, "exit")); err != nil {
		return ""
	}
	return dir
}

// check verifies a certificate, a bundle with its output, or the proof of a task.
func (v *verification) check(data, genesis []byte, task string) (consensus.Verdict, error) {
	if client.IsBundle(data) {
		return v.checkBundle(data, genesis, task)
	}
	if task != "" {
		return consensus.Verdict{}, usage("only a bundle says how each task ended", "muster result JOB --bundle FILE, or verify the proof of the task")
	}
	if client.IsTaskProof(data) {
		proven, err := client.VerifyTaskProof(data, genesis)
		if err != nil {
			return proven.Verdict, err
		}
		v.Task = proof(proven.Task, proven.Array.Count)
		return proven.Verdict, nil
	}
	return client.Verify(data, genesis)
}

func proof(t consensus.TaskOutcome, of uint64) *provenTask {
	p := &provenTask{Index: t.Index, Name: t.Name, Of: of, Outcome: t.Outcome.String()}
	if t.Outcome.Tree != nil {
		p.Result = t.Outcome.Tree.String()
	}
	return p
}

func (v *verification) checkBundle(data, genesis []byte, task string) (consensus.Verdict, error) {
	opened, err := client.VerifyBundle(bytes.NewReader(data), genesis)
	if err != nil {
		return opened.Verdict, err
	}
	if err := node.CheckDraw(opened.Opened); err != nil {
		return opened.Verdict, &jobs.Problem{Code: jobs.CodeCertificate, What: "the quorum is not the one drawn", Why: err.Error()}
	}
	v.Bundle, v.Draw = true, "checked against the roll"
	if opened.Tasks != nil {
		v.Array = &jobs.ArrayState{Tasks: len(opened.Tasks)}
		for _, t := range opened.Tasks {
			if !t.Failed() {
				continue
			}
			if v.Array.Failed++; v.Array.Failed <= jobs.MaxShown {
				v.Array.Failures = append(v.Array.Failures, endOf(t))
			}
		}
	}
	if task != "" {
		t, err := client.FindTask(opened.Tasks, task)
		if err != nil {
			return opened.Verdict, err
		}
		v.Task = proof(t, uint64(len(opened.Tasks)))
	}
	return opened.Verdict, nil
}

func (v *verification) fill(verdict consensus.Verdict) {
	c := verdict.Charter
	v.Valid, v.Network, v.Job, v.Outcome = true, verdict.Network.String(), verdict.Job.String(), verdict.Value.String()
	v.Signed, v.Size, v.Faults, v.Fault = len(verdict.Signers), len(c.Roster), int(c.F), c.Fault.String()
	v.Round, v.Class = int(verdict.Round), string(c.Class)
	v.Assurance, v.Effects = string(c.Assurance), string(c.Effects)
	if verdict.Value.Tree != nil {
		v.Result = verdict.Value.Tree.String()
	}
	for _, seat := range verdict.Signers {
		v.Signers = append(v.Signers, verdict.Height.Holder(seat).Peer.String())
	}
	v.Replaced = jobs.ReplacedBefore(verdict.Height)
	v.Limits = limits(c.Assurance, c.Effects, len(v.Replaced) > 0)
}

// checkResult compares a folder with the certified result tree, byte for byte.
func (v *verification) checkResult(ctx context.Context, dir string, array bool) error {
	if dir == "" {
		return nil
	}
	result, outcome := v.Result, v.Outcome
	if v.Task != nil {
		result, outcome = v.Task.Result, v.Task.Outcome
	} else if array {
		return usage("the result of an array job is no one folder", "--task NAME with a bundle, or the proof of a task")
	}
	tree, err := node.TreeCID(ctx, dir)
	if err != nil {
		return &jobs.Problem{Code: jobs.CodeCertificate, What: dir + " is not the certified result", Why: err.Error()}
	}
	if tree != result {
		return &jobs.Problem{Code: jobs.CodeCertificate, What: dir + " is not the certified result",
			Why: fmt.Sprintf("the certificate says %s, the folder is %s", outcome, tree),
			Try: "muster result " + jobs.Short(v.Job) + " -o another/"}
	}
	v.Matches = dir
	return nil
}

func (v *verification) view(a *app) view {
	return view{data: v, names: []string{v.Job}, table: func(w io.Writer, wide bool) {
		words := []string{a.style(w).good("VALID") + ", checked here"}
		if v.Offline {
			words[0] = a.style(w).good("VALID") + ", checked offline"
		}
		words = append(words, fmt.Sprintf("%d of %d signatures, %s, %s", v.Signed, v.Size, v.tolerance()+effectsWords(v.Effects), v.matchWords()))
		fmt.Fprintln(w, fold(columns(w), "   ", words...))
		failedTasks(w, a.style(w), v.Array)
		if v.Task != nil {
			fmt.Fprintf(w, "task %s (%d of %d): %s\n", plain(v.Task.Name), v.Task.Index, v.Task.Of, v.Task.Outcome)
		}
		for _, r := range v.Replaced {
			fmt.Fprintln(w, replacedWords(r))
		}
		if wide {
			for _, part := range [][2]string{{"job", v.Job}, {"network", v.Network}, {"outcome", v.Outcome}, {"class", v.Class}} {
				fmt.Fprintf(w, "%-8s %s\n", part[0], part[1])
			}
			for _, s := range v.Signers {
				fmt.Fprintf(w, "%-8s %s\n", "signer", s)
			}
		}
		unproved := slices.Clone(v.Limits)
		unproved[0], unproved[len(unproved)-1] = "Not proved: "+unproved[0], unproved[len(unproved)-1]+"."
		fmt.Fprintf(w, "draw: %s\n%s\n", v.Draw, fold(columns(w), "; ", unproved...))
	}}
}

// tolerance says how many faulty members the agreement stands, and what it is
// about where results are not replicated.
func (v *verification) tolerance() string {
	if v.Faults == 0 {
		return "nobody checked it"
	}
	words := "tolerates " + plural(v.Faults, "liar")
	if v.Fault == consensus.Crash.String() {
		words = "tolerates " + plural(v.Faults, "crash") + ", no liar"
	}
	switch consensus.Assurance(v.Assurance) {
	case consensus.Single:
		return "agreed on what one member reported (single: nobody checked the run)"
	case consensus.MajorityEqual:
		return words + " (majority-equal: results compared, not byte for byte)"
	case consensus.Endorsed:
		return words + endorsedWords(v.Result != "", v.Faults)
	}
	return words
}

// effectsWords say that the task acts on the world.
func effectsWords(effects string) string {
	if effects == "" {
		return ""
	}
	return ", acting " + effects
}

func (v *verification) matchWords() string {
	outcome, matches := v.Outcome, ""
	switch {
	case v.Matches != "":
		matches = "result matches " + v.Matches
	case v.Bundle && v.Result != "":
		matches = "result matches the output in the file"
	}
	if v.Array != nil {
		outcome = arrayEndWords(v.Array)
	} else if strings.HasPrefix(outcome, "result") && matches != "" {
		return matches
	}
	return strings.TrimSuffix(outcome+", "+matches, ", ")
}
