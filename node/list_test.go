package node

import (
	"strings"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

func TestOpenJobsAreTurnedPageByPage(t *testing.T) {
	open := []jobs.Job{{ID: "b", Issued: 2}, {ID: "a", Issued: 3}, {ID: "c", Issued: 1}, {ID: "a2", Issued: 2}, {ID: "d", Issued: 1}}
	want := []string{"a", "a2", "b", "c", "d"}
	for limit := 1; limit <= 6; limit++ {
		var got []string
		for cursor, pages := "", 0; ; pages++ {
			from, after, err := parseCursor(cursor)
			if err != nil || after != nil || pages > len(open) {
				t.Fatalf("limit %d, cursor %q: %v, %v after %d pages", limit, cursor, after, err, pages)
			}
			page, next := openPage(append([]jobs.Job{}, open...), from, limit)
			if len(page) > limit {
				t.Fatalf("limit %d: %d jobs", limit, len(page))
			}
			for _, j := range page {
				got = append(got, j.ID)
			}
			if cursor = next; next == "" {
				break
			}
		}
		if len(got) != len(want) {
			t.Fatalf("limit %d: %v, want %v", limit, got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("limit %d: %v, want %v", limit, got, want)
			}
		}
	}
	for _, cursor := range []string{"open-", "open-x-y", "zz"} {
		if _, _, err := parseCursor(cursor); err == nil {
			t.Errorf("cursor %q was taken", cursor)
		}
	}
}

// The last letter of an id holds two bits that say nothing, and libraries take
// any: the certificate of such an id would not be the one that was asked for.
func TestAnIdHasOneForm(t *testing.T) {
	id := consensus.JobID{1, 2, 3}.String()
	if _, ok := parseJob(id); !ok {
		t.Fatalf("%s is no id", id)
	}
	last := map[bool]string{true: "b", false: "a"}[strings.HasSuffix(id, "a")]
	for _, other := range []string{id[:len(id)-1] + last, strings.ToUpper(id)} {
		if _, ok := parseJob(other); ok {
			t.Errorf("%s was taken for %s", other, id)
		}
	}
	request := consensus.RequestID{0xab}.String()
	if _, ok := parseRequest(request); !ok {
		t.Fatalf("%s is no request id", request)
	}
	if _, ok := parseRequest(strings.ToUpper(request)); ok {
		t.Error("a request id in capitals was taken")
	}
}
