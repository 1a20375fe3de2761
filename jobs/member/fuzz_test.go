package member

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	blockformat "github.com/ipfs/go-block-format"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/consensustest"
	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/store/dagcbor"
	"github.com/muster-network/muster/store/journal"
	"github.com/muster-network/muster/store/tree"
)

// The records of a member: an open job, a job that ended, its line in lists.
// What is read is what was written, and nothing else.
func FuzzRecords(f *testing.F) {
	n := consensustest.New(4)
	job := n.Job(consensus.Byzantine, 1)
	for _, v := range []any{
		openRecord{Offer: consensus.Offer{Charter: job.Signed}, Witness: true},
		Closed{Certificate: []byte{1}, Finished: 1, Name: "hello", Labels: map[string]string{"a": "b"}, Seats: []Seat{{Role: "voter", Use: map[string]uint64{"cpu_ns": 1}}}},
		Line{Name: "hello", State: "succeeded", Issued: 1},
	} {
		data, err := dagcbor.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, into := range []any{new(openRecord), new(Closed), new(Line)} {
			if dagcbor.Unmarshal(data, into) != nil {
				continue
			}
			if again, err := dagcbor.Marshal(into); err != nil || !bytes.Equal(again, data) {
				t.Errorf("%T encodes to other bytes: %x, %v", into, again, err)
			}
		}
	})
}

// What the disk has of a checkpoint: the record that names it, and its block. What is
// read of it is what was written, and what a run takes up is of its job.
func FuzzCheckpoint(f *testing.F) {
	const count = 8
	records, err := journal.Open("journal", journal.Options{FS: vfs.NewMem()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = records.Close() })
	m, _, _ := arrayMember(f, 1, count, nil)
	blocks := m.cfg.Store
	long, err := tree.WriteResult(f.Context(), blocks, resultOf(exec.Result{Kind: exec.Exited, Stdout: []byte("out"), Out: []exec.File{{Path: "a/b", Data: []byte("c")}}}))
	if err != nil {
		f.Fatal(err)
	}
	link := dagcbor.LinkTo(long.Root)
	other := dagcbor.LinkTo(dagcbor.CID([]byte("none")))
	end := taskEnd{Kind: exec.Exited, Stdout: []byte("out"), Stderr: []byte("err"), Out: []endFile{{Path: "a", Data: []byte("b")}}, CPU: 1, Peak: 2, In: 3, Written: 4}
	for _, c := range []checkpoint{
		{},
		{Ends: []taskEnd{end, {Index: 1, Kind: exec.Exited, Code: 7}, {Index: 2, Kind: exec.Exited, Tree: &link}}},
		{Ends: []taskEnd{end, end, {Index: 3, Kind: exec.Exited, Tree: &other}, {Index: count, Kind: exec.Exited}, {Index: 1 << 63, Kind: exec.Trapped}, {Index: 4, Kind: exec.TimedOut}}},
		{Job: consensus.JobID{1}, Ends: []taskEnd{end}},
	} {
		data, err := dagcbor.Seal(tagCheckpoint, m.cfg.Network[:], c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(dagcbor.CID(data).Bytes(), data)
		f.Add([]byte("no name"), data)
	}
	f.Fuzz(func(t *testing.T, record, block []byte) {
		m, j, _ := arrayMember(t, 1, count, nil)
		m.cfg.Journal = records
		if err := records.Append(t.Context(), journal.Entry{Key: checkpointKey(j.id, 0), Value: record}); err != nil {
			t.Fatal(err)
		}
		err := m.findCheckpoints(j)
		if list := j.checkpoints.list(); err == nil && (len(list) != 1 || !bytes.Equal(list[0].Bytes(), record)) || err != nil && len(list) > 0 {
			t.Fatalf("record %x names %v, %v", record, list, err)
		}
		m.cfg.Store = blocks
		b, err := blockformat.NewBlockWithCid(block, dagcbor.CID(block))
		if err != nil || blocks.Put(t.Context(), b) != nil {
			return // larger than a block
		}
		defer func() { _ = blocks.Delete(t.Context(), b.Cid()) }()
		ends, err := m.openCheckpoint(t.Context(), j, b.Cid())
		if err != nil {
			return
		}
		if again, err := dagcbor.Seal(tagCheckpoint, m.cfg.Network[:], checkpoint{Job: j.id, Ends: ends}); err != nil || !bytes.Equal(again, block) {
			t.Errorf("opened %x, sealed %x, %v", block, again, err)
		}
		for _, end := range ends {
			isTakenUp(t, m, j, end)
		}
	})
}

// isTakenUp holds a result that is taken up against the job, and against what would be
// kept of it again.
func isTakenUp(t *testing.T, m *Member, j *job, end taskEnd) {
	t.Helper()
	r, err := m.keptResult(t.Context(), j, end)
	if err != nil {
		return
	}
	if end.Index >= uint64(j.task.Tasks()) || !r.Kind.Deterministic() || uint64(sizeOf(r)) > j.charter.Limits.Output {
		t.Errorf("taken up: %+v", end)
	}
	again, size, err := (&keeper{m: m, job: j}).end(t.Context(), kept{int(end.Index), r})
	if err != nil || size > tree.MaxPacked || end.Tree != nil || again.Tree != nil {
		return // in other words: it is as long as a tree
	}
	want, err := dagcbor.Marshal(end)
	if got, failed := dagcbor.Marshal(again); err != nil || failed != nil || !bytes.Equal(got, want) {
		t.Errorf("kept %x, and would be %x", want, got)
	}
}
