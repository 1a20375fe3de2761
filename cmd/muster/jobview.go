package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

// jobView shows one job: a line, its members, and what it waits for.
func jobView(a *app, job api.Job) view {
	return view{data: job, names: []string{job.ID}, table: func(w io.Writer, wide bool) {
		s := a.style(w)
		fmt.Fprintln(w, fold(columns(w), "   ", headline(s, job.Job)...))
		if job.Stalled != nil {
			fmt.Fprintln(w, s.bad("stalled")+": "+stalledWords(job.Job))
		}
		for _, r := range job.Replaced {
			fmt.Fprintln(w, replacedWords(r))
		}
		if wide {
			for _, part := range [][2]string{{"job", job.ID}, {"request", job.Request}, {"supersedes", job.Supersedes}, {"task", job.Task}, {"result", resultOf(job.Job)},
				{"class", job.Class}, {"owner", job.Owner}, {"submitter", job.Submitter}} {
				if part[1] != "" {
					fmt.Fprintf(w, "%-10s %s\n", part[0], plain(part[1]))
				}
			}
		}
		members(job.Job, wide).write(w, s)
		failedTasks(w, s, job.Job.Array)
	}}
}

// headline says in one line where a job stands.
func headline(s style, job jobs.Job) []string {
	words := []string{dash(plain(job.Name))}
	if !job.State.Terminal() || job.Outcome == nil {
		now := job.Finished
		if now == 0 {
			now = time.Now().UnixMilli()
		}
		words = append(words, s.state(string(job.State)), progressWords(job))
		if job.Array != nil {
			words = append(words, arrayWords(job))
		}
		return append(words, age(since(job.Issued, now)))
	}
	state := s.good("succeeded")
	if job.State != jobs.Succeeded {
		state = s.bad(failureWords(job))
	}
	words = append(words, state+", certified", signedWords(job.Outcome.Signed, job.Size)+assuranceWords(job), fmt.Sprintf("round %d", job.Round))
	if job.Finished > 0 {
		words = append(words, seconds(since(job.Issued, job.Finished)))
	}
	if job.Array != nil {
		words = append(words, arrayWords(job))
	}
	if job.Outcome.Result != "" {
		words = append(words, resultWords(job.Outcome.Result))
	}
	return words
}

func resultOf(job jobs.Job) string {
	if job.Outcome == nil {
		return ""
	}
	return job.Outcome.Result
}

// progressWords count what the quorum has done.
func progressWords(job jobs.Job) string {
	accepted, reported := 0, 0
	for _, m := range job.Members {
		if m.Accepted || m.Started {
			accepted++
		}
		if m.Report != "" {
			reported++
		}
	}
	if reported > 0 {
		return plural(reported, "report")
	}
	return fmt.Sprintf("%d of %d accepted", accepted, job.Size)
}

// replacedWords say who took whose seat.
func replacedWords(r jobs.Replaced) string {
	return plain(fmt.Sprintf("replaced: %s by %s (seat %d, decided at height %d)", r.Name, r.ByName, r.Seat, r.Height))
}

func stalledWords(job jobs.Job) string {
	words := job.Stalled.Reason
	if len(job.Stalled.Waiting) > 0 {
		words = strings.TrimPrefix(words+"; waits for "+strings.Join(job.Stalled.Waiting, ", "), "; ")
	}
	return plain(words)
}

// members is the table of a job's quorum.
func members(job jobs.Job, wide bool) table {
	t := table{head: []string{"MEMBER", "ROLE", "REPORT", "SIGNED", "TIME", ""}}
	if wide {
		t.head = []string{"MEMBER", "ROLE", "REPORT", "SIGNED", "TIME", "CPU", "MEMORY", "PEER", ""}
	}
	for _, m := range job.Members {
		report := m.Report
		if strings.HasPrefix(report, "baf") && !wide {
			report = brief(report)
		}
		if report == "" {
			report = m.Run
			if job.Array != nil && m.Run != "" {
				report = fmt.Sprintf("%s %d/%d", m.Run, m.Done, job.Array.Tasks)
			}
		}
		if m.Granted > 0 && m.Report == "" {
			report = strings.TrimSpace(fmt.Sprintf("%s run %d", m.Run, m.Granted))
		}
		signed, took := "no", "-"
		if m.Signed {
			signed = "yes"
		} else if !job.State.Terminal() {
			signed = "-"
		}
		if ns := m.Use["wall_ns"]; ns > 0 {
			took = seconds(time.Duration(ns))
		}
		note := ""
		switch {
		case m.Lied:
			note = "EQUIVOCATED"
		case m.Disagrees && m.Rejected > 0:
			note = fmt.Sprintf("REJECTED by the check of %d", m.Rejected)
		case m.Disagrees:
			note = "DISAGREES"
			if len(m.Differs) > 0 {
				note += " at " + differsWords(m.Differs)
			}
		case m.Endorsed > 0:
			note = fmt.Sprintf("endorsed by the check of %d", m.Endorsed)
		case m.Activated != "":
			note = "(called in: " + m.Activated + ")"
		}
		row := []string{m.Name, m.Role, dash(report), signed, took}
		if wide {
			cpu, memory := "-", "-"
			if peak := m.Use["mem_peak"]; peak > 0 {
				memory = bytesOf(peak)
			}
			if ns := m.Use["cpu_ns"]; ns > 0 {
				cpu = seconds(time.Duration(ns))
			}
			row = append(row, cpu, memory, m.Peer)
		}
		t.rows = append(t.rows, append(row, note))
	}
	return t
}

// assuranceWords name what agreement rests on where results are not replicated.
func assuranceWords(job jobs.Job) string {
	switch {
	case job.Effects != "":
		return " (" + job.Assurance + ", effects " + job.Effects + ")"
	case job.Assurance == string(consensus.Endorsed):
		return endorsedWords(resultOf(job) != "", job.Faults)
	case job.Assurance == string(consensus.Replicated) || job.Assurance == "" || job.Size == 1:
		return ""
	}
	return " (" + job.Assurance + ")"
}

// endorsedWords say who checked what one member left, where something was left.
func endorsedWords(left bool, f int) string {
	if !left {
		return " (endorsed)"
	}
	return fmt.Sprintf(" (endorsed by the check of %d, not replicated)", f+1)
}
