package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/muster-network/muster/jobs"
)

// The exit codes.
const (
	exitOK          = 0 // certified success
	exitFailed      = 1 // the job failed, or something unexpected
	exitUsage       = 2 // usage, or an invalid file
	exitUnreachable = 3
	exitNotFound    = 4
	exitDenied      = 5
	exitRefused     = 6 // refused, cannot be placed
	exitNoAgreement = 7 // or interrupted while stalled
	exitInvalid     = 8 // the certificate is not valid
	exitTimeout     = 9 // the command's, the job's, or its deadline
	exitCancelled   = 10
	exitInterrupted = 130
)

// exitError ends the program with a code, and without a word: what is to be
// said was said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// usage is the error of a call that cannot be meant.
func usage(what, try string) error {
	return &jobs.Problem{Code: jobs.CodeUsage, What: what, Try: try}
}

// exitOf maps an error to the program's exit code.
func exitOf(err error) int {
	var code exitError
	var p *jobs.Problem
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	case !errors.As(err, &p):
		return exitFailed
	}
	switch p.Code {
	case jobs.CodeSpecSyntax, jobs.CodeSpecKey, jobs.CodeSpecValue, jobs.CodeSpecFile, jobs.CodeModule, jobs.CodeQuorum,
		jobs.CodeUsage, jobs.CodeAmbiguous:
		return exitUsage
	case jobs.CodeNodeDown, jobs.CodeNoNetwork:
		return exitUnreachable
	case jobs.CodeNotFound:
		return exitNotFound
	case jobs.CodeDenied, jobs.CodeTicket:
		return exitDenied
	case jobs.CodePlaceCapacity, jobs.CodePlaceRefused, jobs.CodePlaceUnknown, jobs.CodeBusy:
		return exitRefused
	case jobs.CodeCertificate:
		return exitInvalid
	case jobs.CodeTimeout:
		return exitTimeout
	}
	return exitFailed
}

// specCodes begins the codes of what is wrong with a job file.
const specCodes = "MUSTER-SPEC-"

// tell writes an error in its four parts: what, why, try, code.
func (a *app) tell(err error) {
	var quiet exitError
	if err == nil || errors.As(err, &quiet) {
		return
	}
	p := new(jobs.Problem)
	var path *fs.PathError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &path):
		p = fileProblem(path)
	case errors.Is(err, context.Canceled):
		p = &jobs.Problem{What: "interrupted", Code: "MUSTER-INTERRUPTED"}
	case errors.Is(err, context.DeadlineExceeded):
		p = &jobs.Problem{What: "the time is up", Code: jobs.CodeTimeout}
	default:
		p = &jobs.Problem{What: err.Error(), Code: jobs.CodeInternal}
	}
	try := p.Try
	if try == "" && strings.HasPrefix(p.Code, specCodes) && p.Code != jobs.CodeSpecFile {
		try = "muster schema tells what a job file holds"
	}
	fmt.Fprintf(a.err, "%s %s\n", a.style(a.err).bad("error:"), plainLines(p.What))
	for _, part := range [][2]string{{"why", p.Why}, {"try", a.hint(try)}, {"code", p.Code}} {
		if part[1] != "" {
			fmt.Fprintf(a.err, "  %s: %s\n", part[0], plainLines(part[1]))
		}
	}
}

// fileProblem says that a file or folder of this machine cannot be used.
func fileProblem(err *fs.PathError) *jobs.Problem {
	p := &jobs.Problem{Code: jobs.CodeFile, What: "cannot " + err.Op + " " + err.Path, Why: err.Err.Error(), Try: "another path"}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		p.Try = "make room on the disk, then again; what was acknowledged is kept"
	case errors.Is(err, fs.ErrPermission):
		p.Try = "another path, or as a user who may"
	}
	return p
}

// plainLines keeps the lines of a text, and aligns those after the first.
func plainLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = plain(line)
	}
	return strings.Join(lines, "\n       ")
}

// exitOfJob maps a certified outcome to the exit code.
func exitOfJob(job jobs.Job) int {
	switch {
	case job.State == jobs.Succeeded:
		return exitOK
	case job.State == jobs.Cancelled:
		return exitCancelled
	case job.State != jobs.Failed || job.Outcome == nil:
		return exitFailed
	}
	switch job.Outcome.Class {
	case "timeout", "deadline":
		return exitTimeout
	case "disagreement":
		return exitNoAgreement
	}
	return exitFailed
}
