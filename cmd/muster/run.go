package main

import (
	"bytes"
	"context"
	"errors"
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

func (a *app) runCommand() *cobra.Command {
	var p program
	var propagate bool
	c := &cobra.Command{
		Use:   "run FILE|PROGRAM [-- ARGS...]",
		Short: "Run a job, wait for it, and fail when it fails",
		Long: "Run a job file, a WebAssembly module, or a builtin program. On a terminal its\n" +
			"output is shown while it runs; elsewhere only certified output is written.\n" +
			"Ctrl-C detaches: the job goes on.",
		Example: "  muster run builtin:hello -- Ada\n  muster run job.yaml\n  muster run wc.wasm --input text=book.txt -- --top 10",
		Args:    cobra.ArbitraryArgs,
	}
	p.flags(c.Flags())
	c.Flags().BoolVar(&propagate, "propagate-exit", false, "exit with the program's own code")
	c.RunE = func(command *cobra.Command, args []string) error {
		file, dir, err := p.read(a, command, args)
		if err != nil {
			return err
		}
		return a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			r := &running{app: a, program: &p, client: c, live: terminal(a.out) && !a.machine() && !a.quiet, counts: terminal(a.err) && !a.quiet, propagate: propagate}
			return r.run(ctx, file, client.SubmitOptions{Dir: dir, Key: p.key})
		})(command, nil)
	}
	return c
}

// running is one job that somebody waits for.
type running struct {
	*app
	program   *program
	client    *client.Client
	job       api.Job
	live      bool // output is shown as it comes
	counts    bool // how many tasks of an array have ended is
	propagate bool
	shown     shown
}

// shown is what of a run's output was written before it was certified.
type shown struct {
	member         string // whose output it is
	stdout, stderr bytes.Buffer
}

func (r *running) run(ctx context.Context, file *jobs.File, o client.SubmitOptions) (err error) {
	started := time.Now()
	if r.job, err = r.client.Submit(ctx, file, o); err != nil {
		if errors.Is(err, context.Canceled) {
			r.say("interrupted before the job was acknowledged: it may or may not live; muster ps tells")
		}
		return r.program.refused(file, err)
	}
	r.sayQuorum()
	id := r.job.ID
	if !r.job.State.Terminal() {
		if err := r.follow(ctx); err != nil {
			return err
		}
	}
	return r.end(ctx, id, time.Since(started))
}

// say writes chatter.
func (a *app) say(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// sayQuorum names the job and who runs and checks it.
func (r *running) sayQuorum() {
	var names []string
	for _, m := range r.job.Members {
		names = append(names, m.Name)
	}
	assured := fmt.Sprintf("(f=%d)", r.job.Faults)
	if r.job.Size == 1 {
		assured = "(nobody checks)"
	}
	if len(names) > 7 {
		names = append(names[:7], fmt.Sprintf("and %d more", len(names)-7))
	}
	r.say("%s", fold(columns(r.err), "   ", "job "+brief(r.job.ID), fmt.Sprintf("quorum %s %s", strings.Join(names, " "), assured)))
}

// follow waits for the end, and on a terminal shows output meanwhile. When it
// is interrupted, the job goes on.
func (r *running) follow(ctx context.Context) error {
	logs, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if r.live {
			_ = r.client.Logs(logs, r.job.ID, client.LogOptions{Follow: true}, r.chunk) // live output is a courtesy: the certified one follows
		}
	}()
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		if r.counts {
			r.count(logs)
		}
	}()
	job, err := r.client.Wait(ctx, r.job.ID)
	if err == nil {
		select { // the stream ends with the job, a little later
		case <-done:
		case <-time.After(time.Second):
		}
	}
	stop()
	<-done
	<-counted
	if err == nil {
		r.job = job
		return nil
	}
	if ctx.Err() != nil {
		return r.detach(context.WithoutCancel(ctx))
	}
	if exitOf(err) == exitUnreachable {
		r.say("the node is gone; the job goes on without it. On any peer: muster wait %s", r.job.ID)
	}
	return err
}

// chunk shows output of the first member that speaks.
func (r *running) chunk(c api.LogChunk) error {
	s := &r.shown
	if s.member == "" {
		s.member = c.Member
	}
	if c.Member != s.member {
		return nil
	}
	if c.Stream == "stderr" {
		s.stderr.Write(c.Data)
		_, err := r.err.Write(c.Data)
		return err
	}
	s.stdout.Write(c.Data)
	_, err := r.out.Write(c.Data)
	return err
}

// detach tells how to find the job again.
func (r *running) detach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	code := exitInterrupted
	r.say("detached; the job goes on. %s wait %s", r.muster(), jobs.Short(r.job.ID))
	if job, err := r.client.Job(ctx, r.job.ID); err == nil && job.Stalled != nil {
		r.say("stalled: %s", stalledWords(job.Job))
		code = exitNoAgreement
	}
	return exitError(code)
}

// end verifies the certificate, writes what of the certified output was not
// shown yet, and tells the outcome.
func (r *running) end(ctx context.Context, id string, took time.Duration) error {
	told := r.job
	if told.Array != nil || r.machine() { // which tasks failed, and who did what, is asked for only now
		if job, err := r.client.Job(ctx, id); err == nil && job.State.Terminal() {
			told = job
		}
	}
	job, cert, err := r.client.Certify(ctx, id, told)
	if err != nil {
		return err
	}
	r.job = job
	result, has := cert.Result()
	switch {
	case r.machine() || r.format == formatName || r.quiet:
		if err := r.show(jobView(r.app, r.job)); err != nil {
			return err
		}
	case has:
		if err := r.certified(ctx, cert); err != nil {
			return err
		}
	}
	r.say("%s", fold(columns(r.err), "   ", append(outcomeWords(r.style(r.err), r.job, cert), seconds(took), resultWords(result))...))
	if !r.quiet {
		failedTasks(r.err, r.style(r.err), r.job.Job.Array)
	}
	code := exitOfJob(r.job.Job)
	if v := cert.Verdict.Value; r.propagate && v.Kind == consensus.Failed && v.Class == consensus.FailedExit {
		code = exitOfProgram(v.Code)
	}
	if code != exitOK {
		return exitError(code)
	}
	return nil
}

// certified writes the certified output, past what was shown already. What was
// shown and is not certified is told.
func (r *running) certified(ctx context.Context, cert client.Certified) error {
	read := func(stream string, w io.Writer) error { return r.client.ReadFile(ctx, cert, stream, w) }
	if cert.IsArray() {
		array, err := r.client.Array(ctx, cert)
		if err != nil {
			return err
		}
		read = func(stream string, w io.Writer) error {
			for _, t := range array.Tasks {
				if err := array.ReadFile(ctx, t, stream, w); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for _, stream := range []struct {
		name, words string
		w           io.Writer
		shown       []byte
	}{
		{"stdout", "output", r.out, r.shown.stdout.Bytes()},
		{"stderr", "error output", r.err, r.shown.stderr.Bytes()},
	} {
		tail := &after{w: stream.w, seen: stream.shown}
		if err := read(stream.name, tail); err != nil {
			return err
		}
		if !tail.differs && len(tail.seen) == 0 {
			continue
		}
		r.say("%s the %s above is one member's, and not what was certified; the certified %s:",
			r.style(r.err).bad("warning:"), stream.words, stream.words)
		if err := read(stream.name, stream.w); err != nil {
			return err
		}
	}
	return nil
}

// after writes what follows the bytes that were seen, unless they differ.
type after struct {
	w       io.Writer
	seen    []byte
	differs bool
}

func (t *after) Write(p []byte) (int, error) {
	n := min(len(p), len(t.seen))
	if t.differs = t.differs || !bytes.Equal(p[:n], t.seen[:n]); t.differs {
		return len(p), nil
	}
	t.seen = t.seen[n:]
	if _, err := t.w.Write(p[n:]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// exitOfProgram is a program's exit code, which is not 0, as a shell sees it.
func exitOfProgram(code uint64) int {
	if code&0xff == 0 {
		return exitFailed
	}
	return int(code & 0xff)
}

// outcomeWords say how a job ended and who signed that.
func outcomeWords(s style, job api.Job, cert client.Certified) []string {
	word := s.good("certified")
	if job.State != jobs.Succeeded {
		word = s.bad(failureWords(job.Job)) + ", certified"
	}
	words := []string{word, signedWords(len(cert.Verdict.Signers), len(cert.Verdict.Charter.Roster)) + assuranceWords(job.Job)}
	if job.Array != nil {
		words = append(words, arrayWords(job.Job))
	}
	return words
}

func signedWords(signed, of int) string { return fmt.Sprintf("%d of %d signed", signed, of) }

// failureWords say what a failure is: failed exit 3, failed timeout, cancelled.
func failureWords(job jobs.Job) string {
	o := job.Outcome
	if job.State != jobs.Failed || o == nil {
		return plain(string(job.State))
	}
	if o.Class == "exit" {
		return fmt.Sprintf("failed exit %d", o.Code)
	}
	if job.Array != nil && o.Class == "tasks" {
		return "failed"
	}
	return strings.TrimSpace("failed " + plain(o.Class))
}

func resultWords(result string) string {
	if result == "" {
		return "no result"
	}
	return "result " + plain(brief(result))
}
