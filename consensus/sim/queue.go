package sim

// event is something that happens at a time.
type event struct {
	at   int64
	seq  uint64 // events of one time happen in the order in which they were planned
	kind eventKind
	node int    // to whom; -1: the submitter
	life int    // of that node: an event of an earlier life never happens
	from int    // of a frame
	done uint64 // tasks of an array
	run  uint64 // of a run
	mail mail
	then func()
}

type eventKind uint8

const (
	evCall   eventKind = iota // then
	evFrame                   // mail arrives
	evTick                    // the core's time has come
	evSynced                  // the append under way is durable
	evRuns                    // a run leaves the queue
	evTasks                   // tasks of an array end
	evRan                     // a run ends
)

// queue is a heap of events by time, then by sequence.
type queue struct {
	heap []event
	seq  uint64
}

func (q *queue) push(e event) {
	q.seq++
	e.seq = q.seq
	q.heap = append(q.heap, e)
	h := q.heap
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !earlier(&e, &h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
}

func (q *queue) pop() event {
	h := q.heap
	first, last := h[0], h[len(h)-1]
	h[len(h)-1] = event{}
	h = h[:len(h)-1]
	q.heap = h
	if len(h) == 0 {
		return first
	}
	i := 0
	for {
		down := 2*i + 1
		if down >= len(h) {
			break
		}
		if down+1 < len(h) && earlier(&h[down+1], &h[down]) {
			down++
		}
		if !earlier(&h[down], &last) {
			break
		}
		h[i] = h[down]
		i = down
	}
	h[i] = last
	return first
}

func earlier(a, b *event) bool { return a.at < b.at || a.at == b.at && a.seq < b.seq }
