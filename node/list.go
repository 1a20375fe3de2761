package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/muster-network/muster/api/server"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/member"
)

// List implements server.Jobs: the open jobs of this node, then those that
// ended. One that ends while somebody turns the pages may stand on two of them.
func (n *Node) List(ctx context.Context, q server.ListQuery) ([]jobs.Job, string, error) {
	var page []jobs.Job
	from, after, err := parseCursor(q.Cursor)
	if err != nil {
		return nil, "", err
	}
	if after == nil {
		open, err := n.listOpen(ctx, q)
		if err != nil {
			return nil, "", err
		}
		var next string
		if page, next = openPage(open, from, q.Limit); next != "" {
			return page, next, nil
		}
	}
	if q.Stalled {
		return page, "", nil // what ended is not
	}
	return n.listEnded(ctx, q, page, after)
}

// listEnded fills a page with jobs that ended, from the archive's cursor on.
func (n *Node) listEnded(ctx context.Context, q server.ListQuery, page []jobs.Job, after []byte) ([]jobs.Job, string, error) {
	var next string
	var failed error
	err := n.archive.List(after, func(cursor []byte, id consensus.JobID, line member.Line) bool {
		if len(page) >= q.Limit {
			return false
		}
		next = hex.EncodeToString(cursor)
		if q.State != "" && line.State != q.State || !hasLabel(line.Labels, q.Label) {
			return true
		}
		f, ok, err := n.local(ctx, id)
		if err != nil {
			failed = err
			return false
		}
		if ok {
			page = append(page, f.job)
		}
		return true
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, "", err
	}
	if len(page) < q.Limit {
		next = ""
	}
	return page, next, nil
}

func (n *Node) listOpen(ctx context.Context, q server.ListQuery) ([]jobs.Job, error) {
	var page []jobs.Job
	for _, o := range n.member.Open() {
		j, ok, err := n.openJob(ctx, o.ID)
		if err != nil {
			return nil, err
		}
		if ok && (q.State == "" || j.State == q.State) && (!q.Stalled || j.Stalled != nil) && hasLabel(j.Labels, q.Label) {
			page = append(page, j)
		}
	}
	return page, nil
}

func hasLabel(labels map[string]string, want string) bool {
	if want == "" {
		return true
	}
	key, value, both := strings.Cut(want, "=")
	have, ok := labels[key]
	return ok && (!both || have == value)
}

// openMark names the last open job of a page, by what orders them: newest first,
// then by id.
type openMark struct {
	issued int64
	id     string
}

func (a openMark) compare(b openMark) int {
	return cmp.Or(cmp.Compare(b.issued, a.issued), strings.Compare(a.id, b.id))
}

// openPage orders open jobs and returns at most limit of those after a mark, with
// the cursor to go on from where the page is full.
func openPage(open []jobs.Job, from *openMark, limit int) ([]jobs.Job, string) {
	mark := func(j jobs.Job) openMark { return openMark{j.Issued, j.ID} }
	slices.SortFunc(open, func(a, b jobs.Job) int { return mark(a).compare(mark(b)) })
	if from != nil {
		open = slices.DeleteFunc(open, func(j jobs.Job) bool { return mark(j).compare(*from) <= 0 })
	}
	if len(open) < limit {
		return open, ""
	}
	last := mark(open[limit-1])
	return open[:limit], fmt.Sprintf("%s%d-%s", openCursor, last.issued, last.id)
}

// openCursor begins cursors among open jobs. The others are hexadecimal.
const openCursor = "open-"

// parseCursor returns the mark among open jobs or the archive's cursor that a
// page goes on from; neither is the first page.
func parseCursor(text string) (*openMark, []byte, error) {
	if text == "" {
		return nil, nil, nil
	}
	if mark, open := strings.CutPrefix(text, openCursor); open {
		issued, id, _ := strings.Cut(mark, "-")
		if at, err := strconv.ParseInt(issued, 10, 64); err == nil {
			return &openMark{at, id}, nil, nil
		}
	} else if after, err := hex.DecodeString(text); err == nil {
		return nil, after, nil
	}
	return nil, nil, &jobs.Problem{Code: jobs.CodeUsage, What: "this cursor is none", Try: "the cursor of the page before"}
}
