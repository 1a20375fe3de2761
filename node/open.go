package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

// maxWords bounds each text that a peer tells of an open job, in bytes.
const maxWords = 1024

// errOpen is an answer about an open job that no honest peer gives.
var errOpen = errors.New("an answer that cannot be")

// toldOpen reads how an open job stands, as a peer tells it. Which job it is,
// whose, and who may be a member of it, is what its charter says; names follow
// from keys; what is proven of members this node knows itself. The rest is the
// peer's word, and bounded.
func (n *Node) toldOpen(t told, ref reference) (jobs.Job, error) {
	if t.Charter == nil {
		return jobs.Job{}, errors.New("an open job without its charter")
	}
	charter, id, err := t.Charter.Open(n.home.network)
	if err != nil {
		return jobs.Job{}, err
	}
	var word jobs.Job
	if err := json.Unmarshal(t.Open, &word); err != nil {
		return jobs.Job{}, err
	}
	if word.State.Terminal() || !slices.Contains(jobs.States(), word.State) || !ref.matches(id, charter) {
		return jobs.Job{}, errOpen
	}
	if err := jobs.CheckName(word.Name, word.Labels); err != nil {
		return jobs.Job{}, err
	}
	j := jobs.Describe(consensus.FirstHeight(n.home.network, id, charter))
	j.Name, j.Labels, j.State, j.Round = word.Name, word.Labels, word.State, word.Round
	known := parties(charter)
	if j.Members, err = toldMembers(word.Members, known, j.Size); err != nil {
		return jobs.Job{}, err
	}
	if j.Replaced, err = toldReplaced(word.Replaced, known, charter); err != nil {
		return jobs.Job{}, err
	}
	if j.Stalled, err = toldStalled(word.Stalled, known); err != nil {
		return jobs.Job{}, err
	}
	if a := word.Array; a != nil {
		if a.Tasks < 0 || a.Tasks > consensus.MaxTasks {
			return jobs.Job{}, errOpen
		}
		j.Array = &jobs.ArrayState{Tasks: a.Tasks}
	}
	n.noteLies(id, &j)
	return j, nil
}

// parties names everybody who may be a member of a job, by peer id.
func parties(c *consensus.Charter) map[string]string {
	names := map[string]string{}
	for party := range c.Parties() {
		peer := c.Party(party).Peer
		names[peer.String()] = peer.Name()
	}
	return names
}

func toldMembers(word []jobs.Member, known map[string]string, size int) ([]jobs.Member, error) {
	if len(word) != size {
		return nil, errOpen
	}
	for i := range word {
		m := &word[i]
		var ok bool
		if m.Name, ok = known[m.Peer]; !ok {
			return nil, fmt.Errorf("a member that the charter does not name: %w", errOpen)
		}
		if max(len(m.Role), len(m.Activated), len(m.Run), len(m.Report)) > maxWords {
			return nil, errOpen
		}
		if err := consensus.CheckUse(m.Use); err != nil {
			return nil, err
		}
		m.Lied, m.Signed, m.Differs = false, false, nil // each takes more than a word
	}
	return word, nil
}

// toldReplaced takes at most one replacement by each reserve.
func toldReplaced(word []jobs.Replaced, known map[string]string, c *consensus.Charter) ([]jobs.Replaced, error) {
	if len(word) > len(c.Reserves) {
		return nil, errOpen
	}
	for i := range word {
		r := &word[i]
		var out, in bool
		r.Name, out = known[r.Peer]
		if r.ByName, in = known[r.By]; !out || !in || r.Seat < 0 || r.Seat >= len(c.Roster) {
			return nil, errOpen
		}
	}
	return word, nil
}

// toldStalled takes a job to wait for those only who may be its members.
func toldStalled(word *jobs.Stalled, known map[string]string) (*jobs.Stalled, error) {
	if word == nil {
		return nil, nil
	}
	names := make([]string, 0, len(known))
	for _, name := range known {
		names = append(names, name)
	}
	if len(word.Reason) > maxWords || len(word.Waiting) > len(names) {
		return nil, errOpen
	}
	for _, name := range word.Waiting {
		if !slices.Contains(names, name) {
			return nil, errOpen
		}
	}
	return word, nil
}
