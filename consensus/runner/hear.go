package runner

import "github.com/muster-network/muster/consensus"

// unstash takes what came before it could be judged.
func (l *loop) unstash(info *charterInfo, id consensus.JobID) {
	for _, s := range l.stash.take(id) {
		l.judge(info, s)
	}
}

// judge hands a message that was kept to its machine and reports whether it did:
// one of a height to come is kept again.
func (l *loop) judge(info *charterInfo, s stashed) bool {
	if info.isAhead(s) {
		l.stash.add(s)
		return false
	}
	if in, err := l.r.believe(info, s); err == nil {
		l.core.Input(l.r.cfg.Clock(), s.job(), in)
	}
	return true
}

// renewal is how long the frames of one process of a peer are taken before those of
// another are, milliseconds: a change goes through all open jobs, and no node restarts
// faster.
const renewal = 100

func (l *loop) frame(f frameEvent) {
	now := l.r.cfg.Clock()
	p := l.peer(f.from)
	if p.session != f.session {
		if p.session != 0 {
			if now >= p.renewed && now < p.renewed+renewal {
				return // it is said again
			}
			l.core.Renewed(f.from)
		}
		p.session, p.renewed = f.session, now
	}
	if f.seq > 0 {
		l.pace.hear(f.from)
	}
	for _, h := range f.have {
		if h.Session == l.r.cfg.Session {
			l.heard(p, h)
		}
	}
	for _, m := range f.messages {
		l.core.Input(now, m.job, m.in)
	}
	missed := f.unheard
	for i, s := range f.unknown {
		// What waits to be judged may be gone before that: the machine does not
		// have it yet.
		if info, ok := l.r.info(s.job()); !ok {
			l.stash.add(s)
			missed = append(missed, f.missed[i])
		} else if !l.judge(info, s) { // opened meanwhile, or a height behind
			missed = append(missed, f.missed[i])
		}
	}
	// A frame that is not acknowledged is said again: better than an
	// acknowledgement that does not fit a frame.
	if f.seq > 0 && len(p.have) < maxHave && p.missed+len(missed) <= maxMessages {
		p.missed += len(missed)
		p.have = append(p.have, have{Session: f.session, Seq: f.seq, Missed: missed})
	}
}

func (l *loop) heard(p *peer, h have) {
	keys, ok := p.flight[h.Seq]
	if !ok {
		return
	}
	p.land(h.Seq)
	missed := map[uint64]bool{}
	for _, at := range h.Missed {
		missed[at] = true
	}
	for i, k := range keys {
		if k.party >= 0 && !missed[uint64(i)] {
			l.core.Acknowledged(k.job, k.party, k.key)
		}
	}
}
