package sim

import "github.com/muster-network/muster/consensus"

// copyReport binds itself to nothing, or to what another bound itself to, and
// reports what another reported, as soon as it sees that.
func (l *liar) copyReport(m mail) mail {
	var out mail
	for _, one := range m {
		switch one.claim.Kind {
		case consensus.KindReportCommit:
			if hash, ok := l.w.checks.anyCommit(l.n.id); ok {
				out = append(out, l.sign(consensus.KindReportCommit, 0, hash, nil))
			}
		case consensus.KindReport:
			for _, r := range l.w.checks.reports() {
				report := r.Report
				out = append(out, l.sign(consensus.KindReport, 0, reportHash(report), &consensus.Payload{Report: &report}))
				break
			}
		default:
			out = append(out, one)
		}
	}
	return out
}

func reportHash(r consensus.Report) consensus.Hash {
	hash, err := r.Hash(network)
	if err != nil {
		panic(err) // an honest report encodes
	}
	return hash
}
