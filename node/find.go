package node

import (
	"context"
	"errors"
	"time"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/store/dagcbor"
)

// findTimeout bounds a look-up among peers.
const findTimeout = 8 * time.Second

// findWidth is how many peers are asked at once.
const findWidth = 4

// othersPatience is how long peers are asked on when something has been found that
// another may know better: an open job, which may have ended, or another's that names
// the request of one of this node's own, whose journal may be new.
const othersPatience = 500 * time.Millisecond

// findAtPeers asks others. best is what was found already, if anything.
func (n *Node) findAtPeers(ctx context.Context, ref reference, best *found) (found, error) {
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	answers, count := n.askPeers(ctx, ref)
	if best = n.bestOf(ctx, ref, answers, count, best); best != nil {
		return *best, nil
	}
	if ctx.Err() != nil {
		return found{}, notFound(ref.text)
	}
	return n.findInDHT(ctx, ref)
}

// bestOf returns the best of what was found already, if anything, and of the answers
// of peers, as far as it waits for them: one that does not answer delays nothing that
// others know for longer than othersPatience.
func (n *Node) bestOf(ctx context.Context, ref reference, answers <-chan *found, count int, best *found) *found {
	here := best != nil
	var patience <-chan time.Time
	for range count {
		if patience == nil && (here || n.claim(ref, best) >= othersEnd) {
			patience = time.After(othersPatience)
		}
		select {
		case f := <-answers:
			if now, before := n.claim(ref, f), n.claim(ref, best); now > before || now == before && f != nil && better(f.job, best.job) {
				best = f
			}
			if n.claim(ref, best) == ownEnd {
				return best
			}
		case <-patience:
			return best
		case <-ctx.Done():
			return best
		}
	}
	return best
}

// askPeers asks several peers at a time for a job. Each comes to one answer, nil
// from who does not know it.
func (n *Node) askPeers(ctx context.Context, ref reference) (<-chan *found, int) {
	q := question{Op: opRequest, ID: ref.request[:]}
	if ref.isJob {
		q = question{Op: opJob, ID: ref.job[:]}
	}
	peers := n.whomToAsk(ref)
	answers := make(chan *found, len(peers))
	slots := make(chan struct{}, findWidth)
	for _, key := range peers {
		go func() {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-ctx.Done():
			}
			f, err := n.askJob(ctx, key, q, ref)
			if err != nil {
				n.cfg.Log.Debug("look-up", "peer", key.Name(), "error", err)
			}
			answers <- f
		}()
	}
	return answers, len(peers)
}

// A claim says how well what was found fits what was asked for, the higher the
// better. Anybody can name this node's request in a charter, and certify that job
// alone; so by request id a job of this node's own comes first, and another's is
// shown where there is none.
type claim int

const (
	nothing claim = iota
	othersOpen
	othersEnd
	ownOpen
	ownEnd
)

func (n *Node) claim(ref reference, f *found) claim {
	if f == nil {
		return nothing
	}
	c := ownOpen
	if !ref.isJob && f.job.Owner != n.home.identity.Signer.Key().String() {
		c = othersOpen
	}
	if f.certificate != nil {
		c++
	}
	return c
}

func better(a, b jobs.Job) bool { return len(a.Members) > len(b.Members) }

func (n *Node) askJob(ctx context.Context, key admission.Key, q question, ref reference) (*found, error) {
	data, err := n.ask(ctx, key.Peer(), q)
	if err != nil {
		return nil, err
	}
	var t told
	if err := dagcbor.Unmarshal(data, &t); err != nil {
		return nil, err
	}
	switch {
	case t.Closed != nil:
		f, err := n.foundClosed(t.Closed, key.Name())
		if err != nil {
			return nil, err
		}
		if !ref.matches(f.verdict.Job, f.verdict.Charter) {
			return nil, errors.New("a certificate of another job")
		}
		return &f, nil
	case len(t.Open) > 0:
		j, err := n.toldOpen(t, ref)
		if err != nil {
			return nil, err
		}
		j.Source = key.Name()
		return &found{job: j}, nil
	}
	return nil, nil
}

// whomToAsk orders the peers by how likely they are to know.
func (n *Node) whomToAsk(ref reference) []admission.Key {
	self := n.home.identity.Signer.Key()
	var all []admission.Key
	for _, h := range n.adverts.fresh() {
		if h.signed.Advert.Peer != self {
			all = append(all, h.signed.Advert.Peer)
		}
	}
	var out []admission.Key
	seen := map[admission.Key]bool{self: true}
	add := func(keys []admission.Key) {
		for _, k := range keys {
			if !seen[k] {
				seen[k] = true
				out = append(out, k)
			}
		}
	}
	if ref.isJob {
		add(n.announced.roster(ref.job))
		add(election.RankFor(ref.job, all, keepers))
	} else {
		add(election.RankFor(ref.request, all, keepers))
	}
	add(all[:min(len(all), 64)])
	return out
}
