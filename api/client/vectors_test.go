package client_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/consensus/election"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/storetest"
	"github.com/muster-network/muster/store/tree"
)

var update = flag.Bool("update", false, "write the vectors anew")

// judgedBundle is a bundle for other implementations to judge: docs/protocol.md,
// section 11. Refuse is the number of the step that must refuse it, for the reason
// that is its name; one that must be accepted has none.
type judgedBundle struct {
	Name   string       `json:"name"`
	Refuse int          `json:"refuse,omitempty"`
	Bundle string       `json:"bundle"`
	Job    string       `json:"job,omitempty"`
	Tasks  []judgedTask `json:"tasks,omitempty"` // of an array job
}

type judgedTask struct {
	Name  string `json:"name"`
	Kind  uint64 `json:"kind"`
	Class uint64 `json:"class"`
	Code  uint64 `json:"code"`
	Tree  string `json:"tree,omitempty"`
}

// section is a block in a CAR file.
type section struct {
	cid  cid.Cid
	data []byte
}

func carHeader(root cid.Cid) []byte {
	return slices.Concat([]byte("\xa2\x65roots\x81\xd8\x2a\x58\x25\x00"), root.Bytes(), []byte("\x67version\x01"))
}

// car writes sections as they are given, with or without sense.
func car(header []byte, sections ...section) []byte {
	out := append(binary.AppendUvarint(nil, uint64(len(header))), header...)
	for _, s := range sections {
		out = binary.AppendUvarint(out, uint64(len(s.cid.Bytes())+len(s.data)))
		out = append(append(out, s.cid.Bytes()...), s.data...)
	}
	return out
}

// shelf makes bundles that hold, and such as have one fault each.
type shelf struct {
	t   *testing.T
	n   *consensustest.Network
	all []judgedBundle
}

func (s *shelf) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// head is the first part of the bundle of a job, certified to have ended so.
func (s *shelf) head(job consensustest.Job, value consensus.Value, roll []byte) []byte {
	var out bytes.Buffer
	s.check(consensus.WriteBundle(&out, s.n.ID, s.n.Certify(job, s.n.Decide(job, value)), roll))
	return out.Bytes()
}

// judge does all that the protocol asks of whoever is given a bundle.
func judge(data, genesis []byte) (client.Bundle, error) {
	b, err := client.VerifyBundle(bytes.NewReader(data), genesis)
	if err == nil {
		_, err = election.Check(b.Roll, b.RollLink, b.Verdict.Charter, b.Verdict.Network, b.Verdict.Genesis.Policy)
	}
	return b, err
}

func (s *shelf) holds(name string, parts ...[]byte) {
	data := slices.Concat(parts...)
	b, err := judge(data, s.n.Sealed)
	if err != nil {
		s.t.Errorf("%s: %v", name, err)
	}
	j := judgedBundle{Name: name, Bundle: hex.EncodeToString(data), Job: consensus.Hash(b.Verdict.Job).String()}
	for _, task := range b.Tasks {
		v := task.Outcome
		line := judgedTask{Name: task.Name, Kind: uint64(v.Kind), Class: uint64(v.Class), Code: v.Code}
		if v.Tree != nil {
			line.Tree = v.Tree.String()
		}
		j.Tasks = append(j.Tasks, line)
	}
	s.all = append(s.all, j)
}

func (s *shelf) refused(step int, why string, parts ...[]byte) {
	data := slices.Concat(parts...)
	if _, err := judge(data, s.n.Sealed); err == nil {
		s.t.Errorf("accepted: %s", why)
	}
	s.all = append(s.all, judgedBundle{Name: why, Refuse: step, Bundle: hex.EncodeToString(data)})
}

// sections are the blocks below root, in the order in which a CAR file has them.
func (s *shelf) sections(b *storetest.Memory, root cid.Cid) (all []section) {
	var out bytes.Buffer
	s.check(tree.WriteCAR(s.t.Context(), &out, b, root, tree.Limits{Bytes: 8 << 20, Blocks: 1 << 10}))
	_, err := tree.ReadCAR(&out, tree.Limits{Bytes: 8 << 20, Blocks: 1 << 10}, func(c cid.Cid, data []byte) error {
		all = append(all, section{c, data})
		return nil
	})
	s.check(err)
	return all
}

// results are bundles of a plain job: its tree has a file twice, and one of two
// leaves.
func (s *shelf) results() {
	job := s.n.Job(consensus.Byzantine, 1)
	var blocks storetest.Memory
	written, err := tree.WriteResult(s.t.Context(), &blocks, tree.Result{Stdout: []byte("hello\n"), Out: []tree.File{
		{Path: "again", Data: []byte("hello\n")}, {Path: "sub/empty"}}})
	s.check(err)
	root := written.Root
	link := dagcbor.LinkTo(root)
	value := consensus.Value{Kind: consensus.Result, Tree: &link}
	head, parts := s.head(job, value, s.n.RollSealed), s.sections(&blocks, root)
	whole := car(carHeader(root), parts...)

	s.holds("a result, of which a block stands at two places", head, whole)
	cancelled := s.head(job, consensus.Value{Kind: consensus.Cancelled}, s.n.RollSealed)
	s.holds("cancelled: no tree", cancelled)
	raw := section{cid.NewCidV1(cid.Raw, cidOf("raw", cid.Raw).Hash()), []byte("raw")}
	rawLink := dagcbor.LinkTo(raw.cid)
	rawHead := s.head(job, consensus.Value{Kind: consensus.Result, Tree: &rawLink}, s.n.RollSealed)
	s.holds("a tree of one raw block", rawHead, car(carHeader(raw.cid), raw))

	s.refused(1, "a head that ends early", head[:len(head)-1])
	s.refused(1, "a head whose length is not in its shortest form", []byte{0x5a, 0, 0}, head[1:3], head[3:], whole)
	s.refused(1, "a head of one byte more than it may have", []byte{0x5a, 0x00, 0x11, 0x04, 0x01})
	s.refused(17, "another roll", s.head(job, value, s.otherRoll()), whole)
	s.refused(19, "nothing where the outcome has a tree", head)
	s.refused(19, "a tree where the outcome has none", cancelled, whole)
	s.refused(19, "a byte after a bundle without a tree", cancelled, []byte{0})
	s.refused(19, "a byte after the last block", head, whole, []byte{0})
	s.refused(19, "the last block missing", head, car(carHeader(root), parts[:len(parts)-1]...))
	s.refused(19, "a block twice", head, car(carHeader(root), append(slices.Clone(parts), parts[1])...))
	swapped := slices.Clone(parts)
	swapped[1], swapped[2] = swapped[2], swapped[1]
	s.refused(19, "blocks in another order", head, car(carHeader(root), swapped...))
	changed := slices.Clone(parts)
	changed[len(changed)-1].data = []byte("other\n")
	s.refused(19, "a block that its hash does not name", head, car(carHeader(root), changed...))
	s.refused(19, "another root", head, car(carHeader(raw.cid), raw))
	s.refused(19, "a header of version 2", head, bytes.Replace(whole, []byte("version\x01"), []byte("version\x02"), 1))
	two := slices.Concat([]byte("\xa2\x65roots\x82"), bytes.Repeat(carHeader(root)[8:8+41], 2), []byte("\x67version\x01"))
	s.refused(19, "a header with two roots", head, car(two, parts...))
	turned := slices.Concat([]byte("\xa2\x67version\x01\x65roots\x81"), carHeader(root)[8:8+41])
	s.refused(19, "a header whose keys are out of order", head, car(turned, parts...))
	s.refused(19, "a section whose length is not in its shortest form", head, []byte{whole[0] | 0x80, 0}, whole[1:])

	odd := section{cid.NewCidV1(cid.DagJSON, cidOf(string(parts[0].data), cid.Raw).Hash()), parts[0].data}
	oddLink := dagcbor.LinkTo(odd.cid) // of two bytes: no such header
	s.refused(19, "a tree of a codec of two bytes", s.head(job, consensus.Value{Kind: consensus.Result, Tree: &oddLink}, s.n.RollSealed),
		car(carHeader(odd.cid), append([]section{odd}, parts[1:]...)...))
	const libp2pKey = 0x72
	odd.cid = cid.NewCidV1(libp2pKey, odd.cid.Hash())
	oddLink = dagcbor.LinkTo(odd.cid)
	s.refused(19, "a directory under another codec", s.head(job, consensus.Value{Kind: consensus.Result, Tree: &oddLink}, s.n.RollSealed),
		car(carHeader(odd.cid), append([]section{odd}, parts[1:]...)...))
}

func cidOf(data string, codec uint64) cid.Cid {
	return cid.NewCidV1(codec, dagcbor.CIDOf(dagcbor.Sum([]byte(data))).Hash())
}

// otherRoll is another roll by the same maker.
func (s *shelf) otherRoll() []byte {
	roll := *s.n.RollMade
	roll.Made--
	sealed, _, err := roll.Seal(s.n.ID)
	s.check(err)
	return sealed
}

// draws are bundles whose roster does not follow from the roll.
func (s *shelf) draws() {
	value := consensus.Value{Kind: consensus.Cancelled}
	for _, draw := range []struct {
		why  string
		make func(*consensus.Charter)
	}{
		{"a roster in another order", func(c *consensus.Charter) { c.Roster[0], c.Roster[1] = c.Roster[1], c.Roster[0] }},
		{"a reserve left out", func(c *consensus.Charter) { c.Reserves = nil }},
		{"another nonce than was drawn by", func(c *consensus.Charter) { c.Nonce[31] ^= 1 }},
		{"another period than that of issue", func(c *consensus.Charter) { c.Period++ }},
		{"another policy", func(c *consensus.Charter) { c.Policy[0] ^= 1 }},
		{"a roll that was made after the charter", func(c *consensus.Charter) { c.Issued-- }},
	} {
		c := s.n.Charter(consensus.Byzantine, 1)
		s.n.Draw(c)
		draw.make(c)
		s.refused(18, draw.why, s.head(s.n.Sign(c), value, s.n.RollSealed))
	}
	late := s.n.Charter(consensus.Byzantine, 1)
	late.Issued += s.n.Genesis.Policy.RollAge
	late.AcceptBy, late.StartBy, late.Deadline, late.End = late.Issued, late.Issued, late.Issued+late.Timeout, late.Issued+late.Timeout
	late.Period = election.Period(late.Issued)
	s.n.Draw(late)
	s.holds("a roll of the greatest age", s.head(s.n.Sign(late), value, s.n.RollSealed))
	late.Issued++
	late.AcceptBy, late.StartBy, late.Deadline, late.End = late.Issued, late.Issued, late.Issued+late.Timeout, late.Issued+late.Timeout
	s.refused(18, "a roll a millisecond older than it may be", s.head(s.n.Sign(late), value, s.n.RollSealed))
}

// arrays are bundles of an array job of three tasks: one whose tree is in the
// pack, one that failed, and one whose tree stands by itself.
func (s *shelf) arrays() {
	s.array(0, "an array of three tasks", func(*consensus.ArrayResult, *consensus.ArrayPage) {})
	s.array(20, "an array whose root is of other outcomes", func(a *consensus.ArrayResult, _ *consensus.ArrayPage) { a.Root[0] ^= 1 })
	s.array(20, "an array with more failures than its page", func(a *consensus.ArrayResult, _ *consensus.ArrayPage) { a.Failed++ })
	s.array(20, "a page with a task too few", func(_ *consensus.ArrayResult, p *consensus.ArrayPage) { p.Tasks = p.Tasks[:2] })
	s.array(20, "a pack of no tasks", func(_ *consensus.ArrayResult, p *consensus.ArrayPage) { p.Packs[0].Tasks = 0 })
	s.array(20, "a pack of more tasks than the page", func(_ *consensus.ArrayResult, p *consensus.ArrayPage) { p.Packs[0].Tasks = 4 })
	s.array(20, "a task with a name that does not print", func(_ *consensus.ArrayResult, p *consensus.ArrayPage) { p.Tasks[0].Name = "\u202e" })
	s.array(20, "a task that ended in a host failure", func(_ *consensus.ArrayResult, p *consensus.ArrayPage) {
		p.Tasks[1] = consensus.ArrayTask{Name: "1", Kind: consensus.Failed, Class: consensus.FailedHost}
	})
	s.array(19, "dag-cbor that is neither an array nor a page", func(a *consensus.ArrayResult, _ *consensus.ArrayPage) {
		a.Pages = []dagcbor.Link{consensustest.Link("no page")}
	})
}

func (s *shelf) array(step int, name string, change func(*consensus.ArrayResult, *consensus.ArrayPage)) {
	ctx := s.t.Context()
	var blocks storetest.Memory
	packer := tree.NewPacker(&blocks)
	var page consensus.ArrayPage
	var all []consensus.TaskOutcome
	a := consensus.ArrayResult{Count: 3, Failed: 1}
	for i, end := range []tree.Result{{Stdout: []byte("one\n")}, {Code: 3}, {Stdout: []byte("three\n")}} {
		task := consensus.TaskOutcome{Index: uint64(i), Name: string(rune('0' + i)), Outcome: consensus.Value{Kind: consensus.Result}}
		var root cid.Cid
		if i < 2 {
			left, err := packer.Result(ctx, task.Name, end)
			s.check(err)
			root = left.Root
		} else { // by itself, as a large one is
			written, err := tree.WriteResult(ctx, &blocks, end)
			s.check(err)
			packer.Skip()
			root = written.Root
			page.Large = []dagcbor.Link{dagcbor.LinkTo(root)}
		}
		if end.Code != 0 {
			task.Outcome.Kind, task.Outcome.Class, task.Outcome.Code = consensus.Failed, consensus.FailedExit, uint64(end.Code)
		}
		link := dagcbor.LinkTo(root)
		task.Outcome.Tree = &link
		all, page.Tasks = append(all, task), append(page.Tasks, consensus.PageTask(task))
	}
	packs, _, err := packer.Take(ctx)
	s.check(err)
	page.Packs = []consensus.ArrayPack{{Tasks: uint64(packs[0].Entries), File: dagcbor.LinkTo(packs[0].File)}}
	leaves, err := consensus.NewArrayTree(s.n.ID, all)
	s.check(err)
	a.Root = leaves.Root()
	change(&consensus.ArrayResult{}, &page)
	sealedPage, pageLink, err := page.Seal(s.n.ID)
	s.check(err)
	a.Pages = []dagcbor.Link{pageLink}
	change(&a, &consensus.ArrayPage{Tasks: make([]consensus.ArrayTask, 3), Packs: make([]consensus.ArrayPack, 1)})
	sealed, link, err := a.Seal(s.n.ID)
	s.check(err)

	parts := []section{{link.Cid, sealed}, {a.Pages[0].Cid, sealedPage}}
	if a.Pages[0].Cid != pageLink.Cid {
		words, err := dagcbor.Marshal("no page")
		s.check(err)
		parts[1].data = words
	} else {
		parts = append(parts, s.sections(&blocks, packs[0].File)...)
		parts = append(parts, s.sections(&blocks, page.Large[0].Cid)...)
	}
	head := s.head(s.n.Job(consensus.Byzantine, 1), a.Value(link), s.n.RollSealed)
	if step == 0 {
		s.holds(name, head, car(carHeader(link.Cid), parts...))
		return
	}
	s.refused(step, name, head, car(carHeader(link.Cid), parts...))
}

func TestBundlesMatchTheirVerdicts(t *testing.T) {
	s := &shelf{t: t, n: consensustest.New(5)}
	s.results()
	s.draws()
	s.arrays()
	got, err := json.MarshalIndent(struct {
		Genesis string         `json:"genesis"`
		Bundles []judgedBundle `json:"bundles"`
	}{hex.EncodeToString(s.n.Sealed), s.all}, "", " ")
	s.check(err)
	got = append(got, '\n')
	const path = "../../consensus/testdata/bundles.json"
	if *update {
		s.check(os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	s.check(err)
	if !bytes.Equal(got, want) {
		t.Errorf("the vectors differ from %s: go test ./api/client -run Match -update, and look at the difference", path)
	}
}
