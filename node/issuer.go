package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/p2p"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
)

// issuer gives credentials for tickets, and counts a ticket's uses in the
// journal before it answers.
//
//	i/<ticket>/<subject>   the credential that one use gave
type issuer struct {
	home    home
	journal *journal.Journal
	clock   func() int64
	mutex   sync.Mutex
}

var prefixIssued = []byte("i/")

func issuedKey(ticket []byte, subject admission.Key) []byte {
	key := append(append([]byte(nil), prefixIssued...), ticket...)
	return append(append(key, '/'), subject[:]...)
}

// Issue implements p2p.Issuer.
func (i *issuer) Issue(ctx context.Context, ticket admission.Ticket, subject admission.Key) (admission.SignedCredential, error) {
	self := i.home.identity.Signer.Key()
	if ticket.Invite.Issuer != self {
		return admission.SignedCredential{}, errors.New("the ticket was signed by another authority: its uses are counted there")
	}
	i.mutex.Lock()
	defer i.mutex.Unlock()
	used, before := uint64(0), (*admission.SignedCredential)(nil)
	prefix := append(append([]byte(nil), prefixIssued...), ticket.Invite.ID...)
	err := i.journal.Scan(prefix, nil, func(key, value []byte) (bool, error) {
		used++
		if string(key) == string(issuedKey(ticket.Invite.ID, subject)) {
			before = new(admission.SignedCredential)
			return false, dagcbor.Unmarshal(value, before)
		}
		return true, nil
	})
	if err != nil {
		return admission.SignedCredential{}, err
	}
	if before != nil {
		return *before, nil
	}
	if used >= ticket.Invite.Uses {
		return admission.SignedCredential{}, p2p.ErrUsedUp
	}
	life := time.Duration(ticket.Invite.Validity) * time.Millisecond
	c := nodeCredential(subject, ticket.Invite.Role, ticket.Invite.Weight, time.UnixMilli(i.clock()), life)
	c.Kind = ticket.Invite.Kind
	signed, err := admission.SignCredential(i.home.network, c, i.home.identity.Signer)
	if err != nil {
		return signed, err
	}
	value, err := dagcbor.Marshal(signed)
	if err != nil {
		return signed, err
	}
	if err := i.journal.Append(ctx, journal.Entry{Key: issuedKey(ticket.Invite.ID, subject), Value: value}); err != nil {
		return signed, fmt.Errorf("count the use: %w", err)
	}
	return signed, nil
}

// maxIssued bounds the issued credentials that are listed.
const maxIssued = 4096

// issued returns the credentials that this authority has given.
func (i *issuer) issued() []admission.SignedCredential {
	var out []admission.SignedCredential
	// A credential that cannot be read is left out of a list for people.
	_ = i.journal.Scan(prefixIssued, nil, func(_, value []byte) (bool, error) {
		var c admission.SignedCredential
		if dagcbor.Unmarshal(value, &c) == nil {
			out = append(out, c)
		}
		return len(out) < maxIssued, nil
	})
	return out
}
