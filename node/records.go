package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs/member"
	"github.com/muster-network/muster/p2p/discovery"
	"github.com/muster-network/muster/store/dagcbor"
)

// certificates judges the DHT's records: the key is a job id, the value what is
// kept of a job that ended, with a certificate that verifies. It is pure: size
// first, no clock, no state but the genesis (protocol, section 12).
type certificates struct {
	genesis []byte
	known   *verified
}

// Validate implements discovery.Validator.
func (c certificates) Validate(key string, value []byte) error {
	sum := dagcbor.Sum(append([]byte(key), value...))
	if c.known.has(sum) {
		return nil
	}
	var closed member.Closed
	if err := dagcbor.Unmarshal(value, &closed); err != nil {
		return err
	}
	if err := closed.Check(); err != nil {
		return err
	}
	certificate, err := consensus.OpenCertificate(closed.Certificate)
	if err != nil {
		return err
	}
	verdict, err := certificate.Verify(c.genesis)
	if err != nil {
		return err
	}
	if verdict.Job.String() != key {
		return errors.New("the certificate is of another job")
	}
	c.known.add(sum)
	return nil
}

// verified remembers the records that were found valid: the DHT asks several
// times for each, and the answer cannot change.
type verified struct {
	mutex sync.Mutex
	sums  map[[32]byte]struct{}
}

// maxVerified bounds what is remembered.
const maxVerified = 1024

func (v *verified) has(sum [32]byte) bool {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	_, ok := v.sums[sum]
	return ok
}

func (v *verified) add(sum [32]byte) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if len(v.sums) >= maxVerified {
		clear(v.sums)
	}
	v.sums[sum] = struct{}{}
}

// Select implements discovery.Validator: all valid certificates of a job say the
// same, so the first is as good as any, and a tie is never refused as old.
func (c certificates) Select(_ string, values [][]byte) (int, error) {
	if len(values) == 0 {
		return 0, errors.New("no values")
	}
	return 0, nil
}

func (n *Node) openDiscovery() {
	n.discovery = discovery.New(n.p2p.Host, n.home.network, discovery.Config{Validator: certificates{n.home.genesis, &verified{sums: map[[32]byte]struct{}{}}},
		Bootstrap: func() []peer.AddrInfo { return n.p2p.Remembered() }, Log: n.cfg.Log})
}

// maxRecords bounds the certificates that wait for their turn in the DHT: a put
// costs more than the job it is about, and the replicas are elsewhere.
const maxRecords = 64

// recordLoop writes certificates into the DHT, at the rate that discovery keeps.
func (n *Node) recordLoop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-n.records:
			if err := n.discovery.Put(ctx, r.job.String(), r.value); err != nil && ctx.Err() == nil {
				n.cfg.Log.Debug("certificate not in the DHT", "job", r.job, "error", err)
			}
		}
	}
}

type dhtRecord struct {
	job   consensus.JobID
	value []byte
}

func (n *Node) recordLater(job consensus.JobID, value []byte) {
	if len(value) > discovery.MaxRecord {
		return
	}
	select {
	case n.records <- dhtRecord{job, value}:
	default:
	}
}

// findInDHT asks the DHT for a job that no peer asked knew.
func (n *Node) findInDHT(ctx context.Context, ref reference) (found, error) {
	if !ref.isJob {
		return found{}, notFound(ref.text)
	}
	value, err := n.discovery.Get(ctx, ref.job.String())
	if err != nil {
		return found{}, notFound(ref.text)
	}
	var closed member.Closed
	if err := dagcbor.Unmarshal(value, &closed); err != nil {
		return found{}, err
	}
	return n.foundClosed(&closed, "the DHT")
}

// candidatesEvery is how often the DHT's candidates are asked for adverts.
const candidatesEvery = 30 * time.Second

// candidateLoop asks peers that the DHT knows, and gossip has not spoken of, for
// their adverts: rolls come from both.
func (n *Node) candidateLoop(ctx context.Context) error {
	tick := time.NewTicker(candidatesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		for _, id := range n.discovery.Candidates(ctx) {
			if _, heard := n.adverts.get(keyOf(id)); heard {
				continue
			}
			if err := n.askAdverts(ctx, id); err != nil {
				n.cfg.Log.Debug("candidate gave no advert", "peer", id, "error", err)
			}
		}
	}
}
