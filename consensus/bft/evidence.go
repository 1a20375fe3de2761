package bft

import (
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
)

// evidence is what makes values valid (protocol, section 5). It only grows, so
// a value that is valid stays valid; but a handover, which lapses: see watch.
type evidence struct {
	reports  [][]shown         // by party: at most two, for different values
	verdicts [][]verdict       // by party: at most one for each party, on different values
	checks   []check           // own verdicts, and those that this member owes: of each party one
	commits  []*consensus.Hash // by party: the first ReportCommit
	cancel   *consensus.Cancel // durable
	held     []consensus.Hash  // values whose blocks are durable here
	fetches  []fetch           // those on their way
	fixed    []choice          // the values that carry nothing of their own; nil until wanted
	support  []*shown          // those that speak for the value that was judged last
	moves    []choice          // handovers of this height that were valid here, the last ones
	news     bool              // something came that values were not judged by yet
}

// shown is a report that counts, with the hash of its value, and what it is
// matched by: that hash, or where ends are compared by what they come to
// (majority-equal), its normal form.
type shown struct {
	consensus.SignedReport
	hash consensus.Hash
	key  consensus.Hash
}

// choice is a value with its hash.
type choice struct {
	value consensus.Value
	hash  consensus.Hash
}

// fixed are the values that are the same in every job, Cancelled first.
func (m *Machine) fixed() []choice {
	if m.evidence.fixed == nil {
		m.evidence.fixed = []choice{m.choice(consensus.Value{Kind: consensus.Cancelled})}
		for class := consensus.FailedTimeout; class <= consensus.FailedDeadline; class++ {
			m.evidence.fixed = append(m.evidence.fixed, m.choice(consensus.Value{Kind: consensus.Failed, Class: class}))
		}
		if m.isEndorsed() {
			m.evidence.fixed = append(m.evidence.fixed, m.choice(consensus.Value{Kind: consensus.Failed, Class: consensus.FailedRejected}))
		}
	}
	return m.evidence.fixed
}

func (m *Machine) choice(v consensus.Value) choice {
	hash, err := v.Hash(m.cfg.Network)
	if err != nil {
		panic(err) // values are validated before they come here
	}
	return choice{v, hash}
}

// reportCommit takes what a seat binds itself to: the first counts. Where nobody
// commits, who does is not awaited for its report the longer.
func (m *Machine) reportCommit(party int, hash consensus.Hash) {
	if !m.blind() || m.evidence.commits[party] != nil {
		return
	}
	m.evidence.commits[party] = &hash
	m.runs.tracks[party].committed = m.now
}

// report takes a report, the sender's own or relayed. It counts only if it
// opens the commit held from its executor, if one is held.
func (m *Machine) report(r consensus.SignedReport) {
	m.entry.shown[int(r.Seat)] = true
	if m.keepShown(m.evidence.reports, r) {
		m.evidence.news = true
		if t := &m.runs.tracks[r.Seat]; t.reported == 0 {
			t.reported = m.now
		}
	}
}

// keepShown adds a report to those of its party, of which two are kept, and
// reports whether it did.
func (m *Machine) keepShown(reports [][]shown, r consensus.SignedReport) bool {
	party := int(r.Seat)
	held := reports[party]
	if len(held) == 2 || len(held) == 1 && held[0].Report.Value.Equal(r.Report.Value) || !r.Report.Fits(m.cfg.Charter.Assurance) {
		return false
	}
	c := m.choice(r.Report.Value)
	if commit := m.evidence.commits[party]; commit != nil && m.commitHash(party, r.Report) != *commit {
		return false
	}
	reports[party] = append(held, shown{r, c.hash, r.Report.Key(c.hash)})
	return true
}

func (m *Machine) commitHash(party int, r consensus.Report) consensus.Hash {
	hash, err := r.CommitHash(m.cfg.Network, m.cfg.Job, m.peer(party))
	if err != nil {
		panic(err) // reports are validated before they come here
	}
	return hash
}

func (m *Machine) peer(party int) admission.Key { return m.cfg.Charter.Party(party).Peer }

func (m *Machine) learnEvidence(p *consensus.Payload) {
	for _, r := range p.Reports {
		m.report(r)
	}
	for _, v := range p.Verdicts {
		m.hearVerdict(int(v.Seat), verdict{v.Value, v.Endorses, v.Proof})
	}
	if p.Cancel != nil {
		m.learnCancel(*p.Cancel, false)
	}
	if p.Void != nil {
		m.learnVoid(*p.Void)
	}
}

// learnCancel keeps the first cancellation, durably; one that was wished here
// is told to all.
func (m *Machine) learnCancel(c consensus.Cancel, tell bool) {
	if m.evidence.cancel != nil {
		return
	}
	m.evidence.cancel, m.evidence.news = &c, true
	m.record(RecordCancel, &c)
	if others := m.others(); tell && len(others) > 0 {
		out := m.cancelNote(c)
		out.To = others
		m.say(out)
	}
}

func (m *Machine) cancelNote(c consensus.Cancel) Outgoing {
	return Outgoing{Note: consensus.NoteEvidence, Value: m.fixed()[0].hash, Payload: &consensus.Payload{Cancel: &c}}
}

// judge finds the values that this member may take by itself, best first.
func (m *Machine) judge() {
	if !m.acts() || !m.evidence.news {
		return
	}
	m.evidence.news = false
	m.valid = slices.DeleteFunc(m.candidates(m.valid[:0]), func(c choice) bool { return !m.mayTake(c) })
	if v, ok := m.handover(); ok && !m.entry.voided {
		m.valid = append(m.valid, m.move(v))
	}
	slices.SortFunc(m.valid, func(a, b choice) int {
		if a.value.Less(b.value, a.hash, b.hash) {
			return -1
		}
		return 1
	})
}

// move remembers a handover that is valid here: votes for it may come when it is
// valid no more.
func (m *Machine) move(v consensus.Value) choice {
	c := m.choice(v)
	if !slices.ContainsFunc(m.evidence.moves, func(d choice) bool { return c.hash == d.hash }) {
		m.evidence.moves = append(m.evidence.moves[max(len(m.evidence.moves)-maxMoves+1, 0):], c)
	}
	return c
}

// maxMoves bounds the handovers that are remembered.
const maxMoves = 8

// hasOutcome reports whether a value is valid here that would end the job.
func (m *Machine) hasOutcome() bool {
	return len(m.valid) > 0 && m.valid[0].value.Kind != consensus.Handover
}

// mayTake reports whether this member may prepare c of its own accord. One that
// gave the job up takes only Cancelled. For one that had started, the job goes
// on after the submitter's Void: that only makes another's proposal valid.
func (m *Machine) mayTake(c choice) bool {
	cancelled := c.value.Kind == consensus.Cancelled
	switch {
	case m.entry.voided:
		return cancelled
	case cancelled:
		return m.evidence.cancel != nil
	}
	return m.isValid(c)
}

// candidates appends all values that can be valid now: those reported, and the
// fixed ones unless nothing can speak for them.
func (m *Machine) candidates(list []choice) []choice {
	for seat := range m.at.Members {
		for _, r := range m.reportsOf(seat) {
			if !slices.ContainsFunc(list, func(c choice) bool { return c.hash == r.hash }) {
				list = append(list, choice{r.Report.Value, r.hash})
			}
		}
	}
	alike := len(list) == 0 || len(list) == 1 && list[0].value.Matched() && !m.isEndorsed()
	if alike && m.evidence.cancel == nil && m.entry.void == nil && m.now <= m.cfg.Charter.Deadline {
		return list
	}
	for _, c := range m.fixed() {
		if !slices.ContainsFunc(list, func(d choice) bool { return c.hash == d.hash }) {
			list = append(list, c)
		}
	}
	return list
}

// isValid reports whether the evidence held makes c valid.
func (m *Machine) isValid(c choice) bool {
	if c.value.Kind == consensus.Handover {
		return m.mayHandOver(c.value)
	}
	list, need := m.support(c)
	return len(list) >= need
}

// proof returns the reports that make a valid c valid: just these where they
// match, and otherwise all, for a liar's among them may count here only.
func (m *Machine) proof(c choice) []consensus.SignedReport {
	list, need := m.support(c)
	if c.value.Class != consensus.FailedDisagreement && c.value.Class != consensus.FailedHost {
		list = list[:min(need, len(list))]
	}
	if len(list) == 0 {
		return nil
	}
	reports := make([]consensus.SignedReport, len(list))
	for i, r := range list {
		reports[i] = r.SignedReport
	}
	return reports
}

// never is more reports than there can be.
const never = 1 << 30

// support returns the reports that speak for c, each of another member, and how
// many it takes. The list lasts until the next one is asked for: values are
// judged at every step, and shown seldom.
func (m *Machine) support(c choice) (list []*shown, need int) {
	list = m.evidence.support[:0]
	switch {
	case !c.value.Fits(m.cfg.Charter):
		need = never
	case c.value.Kind == consensus.Handover: // see mayHandOver
	case c.value.Kind == consensus.Cancelled:
		if m.evidence.cancel == nil && m.entry.void == nil {
			need = never
		}
	case c.value.Class == consensus.FailedDeadline:
		if m.now <= m.cfg.Charter.Deadline {
			need = never
		}
	case c.value.Class == consensus.FailedDisagreement:
		list, need = m.differing(list), m.t.Quorum
	case c.value.Class == consensus.FailedHost:
		list, need = m.failing(list), m.t.Quorum
	case c.value.Class == consensus.FailedRejected:
		list, need = m.rejected(list), m.t.Suspicion
	case c.value.Class == consensus.FailedTimeout:
		list, need = m.matching(list, c.hash), m.t.Suspicion
	case m.cfg.Charter.Assurance == consensus.MajorityEqual:
		list, need = m.equal(c.hash), m.t.Match
	case m.isEndorsed():
		list, need = m.endorsed(list, c.hash), m.t.Match
	default:
		list, need = m.matching(list, c.hash), m.t.Match
	}
	m.evidence.support = list
	return list, need
}

// matching appends the reports for one value, each seat's at most once.
func (m *Machine) matching(list []*shown, hash consensus.Hash) []*shown {
	for seat := range m.at.Members {
		reports := m.reportsOf(seat)
		for i := range reports {
			if reports[i].hash == hash {
				list = append(list, &reports[i])
			}
		}
	}
	return list
}

// differing appends first reports, one of each seat, among which no
// deterministic value matches: of each such value fewer than match.
func (m *Machine) differing(list []*shown) []*shown {
	from := len(list)
	for seat := range m.at.Members {
		reports := m.reportsOf(seat)
		if len(reports) == 0 || !reports[0].Report.Value.Matched() {
			continue
		}
		r := &reports[0]
		if count(list[from:], func(s *shown) bool { return s.key == r.key }) < m.t.Match-1 {
			list = append(list, r)
		}
	}
	return list
}

// failing appends first reports of hosts and timeouts, and then those that
// differ, or were found bad. Without one of the former the list falls short of a
// quorum.
func (m *Machine) failing(list []*shown) []*shown {
	for seat := range m.at.Members {
		if reports := m.reportsOf(seat); len(reports) > 0 && !reports[0].Report.Value.Matched() {
			list = append(list, &reports[0])
		}
	}
	most := m.t.N
	if len(list) == 0 {
		most = m.t.Quorum - 1
	}
	if m.isEndorsed() {
		list = m.rejected(list)
	} else {
		list = m.differing(list)
	}
	return list[:min(len(list), most)]
}

// accuse tells of executors whose reports the outcome contradicts.
func (m *Machine) accuse(outcome consensus.Value) {
	if m.cfg.Charter.Assurance != consensus.Replicated {
		return // runs may differ
	}
	for _, reports := range m.evidence.reports {
		for _, r := range reports {
			if r.Report.Value.Contradicts(outcome) {
				m.do(Disagreement{Report: r.SignedReport})
				break
			}
		}
	}
}

// holds reports whether all blocks of c are durable here.
func (m *Machine) holds(c choice) bool {
	return c.value.Tree == nil || slices.Contains(m.evidence.held, c.hash)
}

// best returns the first valid value whose blocks are held.
func (m *Machine) best() (choice, bool) {
	for _, c := range m.valid {
		if m.holds(c) {
			return c, true
		}
	}
	return choice{}, false
}

// nextBest returns what this member proposes as a leader: the first valid value
// whose blocks are held, and when f+1 leaders have failed, another in each round
// (turn). What is valid here by a liar's report may be valid nowhere else, and
// another value everywhere (decision 006). A handover comes after all that would
// end the job.
func (m *Machine) nextBest() (choice, bool) {
	held := slices.DeleteFunc(slices.Clone(m.valid), func(c choice) bool { return !m.holds(c) })
	if n := len(held); n > 1 && held[n-1].value.Kind == consensus.Handover {
		held = held[:n-1]
	}
	if len(held) == 0 {
		return choice{}, false
	}
	return held[turn(m.t, m.rounds.round)%len(held)], true
}

// known finds the value that a vote's hash stands for.
func (m *Machine) known(hash consensus.Hash) (choice, bool) {
	if h := m.rounds.highest; h != nil && h.set.Value == hash {
		return choice{h.value, hash}, true
	}
	for _, b := range m.rounds.ballots {
		if b.proposal != nil && b.proposal.hash == hash {
			return b.proposal.choice, true
		}
	}
	for _, reports := range m.evidence.reports {
		for _, r := range reports {
			if r.hash == hash {
				return choice{r.Report.Value, hash}, true
			}
		}
	}
	for _, list := range [][]choice{m.fixed(), m.evidence.moves} {
		for _, c := range list {
			if c.hash == hash {
				return c, true
			}
		}
	}
	return choice{}, false
}
