package runner

import (
	"errors"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/bft"
)

// mute is how long a sender of forgeries is not heard about the job they were
// about, in milliseconds (protocol, section 16).
const mute = 60_000

// forgery is a certificate or proof that does not hold. Whoever checks what it
// passes on never sends one.
type forgery struct{ error }

// proved makes a forgery of what did not pass its check. What belongs to another
// height is none: its sender may be ahead, or behind.
func proved(err error) error {
	if err != nil && !errors.Is(err, consensus.ErrChain) {
		return forgery{err}
	}
	return err
}

// believe is the checker's check, with its consequence for whoever shows a forgery.
func (r *Runner) believe(info *charterInfo, s stashed) (bft.Input, error) {
	in, err := r.checker.check(info, s)
	r.accuse(s, err)
	return in, err
}

// accuse mutes the sender of a forgery.
func (r *Runner) accuse(s stashed, err error) {
	if errors.As(err, new(forgery)) {
		r.muted.note(s.from, s.job(), r.cfg.Clock())
	}
}

// hears reports whether the sender of a message is not muted.
func (r *Runner) hears(s stashed) bool {
	return !r.muted.within(s.from, s.job(), r.cfg.Clock(), mute)
}
