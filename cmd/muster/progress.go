package main

import (
	"context"
	"fmt"
	"time"
)

// countEvery is how often the tasks of an array that have ended are counted anew.
const countEvery = 500 * time.Millisecond

// count shows how many tasks of an array have ended, in one line that is written
// over, until the context ends: then it is gone. Of any other job there is
// nothing to count.
func (r *running) count(ctx context.Context) {
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	shown := ""
	for {
		job, err := r.client.Job(ctx, r.job.ID)
		if err == nil && job.Array == nil {
			return
		}
		if err == nil && !job.State.Terminal() {
			if words := plain(string(job.State)) + "   " + arrayWords(job.Job); words != shown {
				shown = words
				fmt.Fprintf(r.err, "\r%s\x1b[K", words)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if shown != "" {
				fmt.Fprint(r.err, "\r\x1b[K")
			}
			return
		}
	}
}
