package sim

import "github.com/muster-network/muster/consensus"

// claimForm reports results that nobody came to, or honest ones, with a form that
// other honest runs come to, and proposes one with just the reports that prove it.
// Nothing in them shows that it is false: who has the blocks finds out.
func (l *liar) claimForm() {
	form := l.honestForm()
	if form == nil {
		return
	}
	if l.src.chance(50) {
		l.tellSome(50, l.reportAs([]*stock{&anotherLie, &truth, l.w.plan.endOf(l.src.below(l.w.t.N))}[l.src.below(3)], form))
	}
	s, reports := &lie, l.w.checks.reports()
	if len(reports) > 0 && l.src.chance(30) {
		s = l.w.plan.endOf(int(reports[l.src.below(len(reports))].Seat))
	}
	p := &consensus.Payload{Value: &s.value}
	for _, r := range reports {
		if r.Report.Normal != nil && *r.Report.Normal == *form && len(p.Reports) < l.w.t.Match-1 {
			p.Reports = append(p.Reports, r)
		}
	}
	if len(p.Reports) < l.w.t.Match-1 {
		return
	}
	own := l.reportAs(s, form)
	p.Reports = append(p.Reports, consensus.SignedReport{Seat: uint64(l.n.id), Report: *own.claim.Payload.Report, Proof: own.claim.Proof})
	first := max(l.top(), 1)
	for round := first; round <= first+1; round++ {
		// Its prepare says that it has the blocks: from there they are fetched.
		l.tellSome(70, l.signAt(l.w.last(), consensus.KindPrepare, round, s.hash, nil), l.signAt(l.w.last(), consensus.KindPropose, round, s.hash, p))
	}
}

// bindToNothing keeps a liar of one kind, in half of the runs, from binding itself
// by what its machine says: whatever it reports to whom then counts there.
func (l *liar) bindToNothing(m mail) mail {
	if l.mask&1 == 0 {
		return m
	}
	var out mail
	for _, one := range m {
		if one.claim.Kind != consensus.KindReportCommit && one.claim.Kind != consensus.KindReport {
			out = append(out, one)
		}
	}
	return out
}

// honestForm is one that an honest member has reported, or else the one that the
// liar's own run comes to; nil: none.
func (l *liar) honestForm() *consensus.Hash {
	reports := l.w.checks.reports()
	if len(reports) > 0 {
		if form := reports[l.src.below(len(reports))].Report.Normal; form != nil {
			return form
		}
	}
	return l.w.plan.formOf(l.w.plan.endOf(l.n.id))
}

// reportAs is the liar's report of an end, as if it came to a form.
func (l *liar) reportAs(s *stock, form *consensus.Hash) *mailed {
	r := consensus.Report{Run: 1, Value: s.value, Normal: form}
	return l.sign(consensus.KindReport, 0, reportHash(r), &consensus.Payload{Report: &r})
}
