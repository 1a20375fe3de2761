package node

import (
	"testing"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/jobs/member"
)

func TestWhatWasShownIsCompletedByWhatIsCertifiedOrDenied(t *testing.T) {
	for _, c := range []struct {
		live, certified, rest string
		denied                bool
	}{
		{"", "Hello, Ada\n", "Hello, Ada\n", false},
		{"Hel", "Hello, Ada\n", "lo, Ada\n", false},
		{"Hello, Ada\n", "Hello, Ada\n", "", false},
		{"", "", "", false},
		{"Help", "Hello, Ada\n", "", true},
		{"Hello, Eve\n", "Hello, Ada\n", "", true},
		{"Hello, Ada\nand more", "Hello, Ada\n", "", true},
		{"Hello", "", "", true},
	} {
		for _, stream := range []string{"stdout", "stderr"} {
			rest := ""
			v := viewer{show: func(chunk api.LogChunk) error {
				if chunk.Member == "" {
					rest += string(chunk.Data)
				}
				return nil
			}}
			for _, b := range []byte(c.live) {
				if err := v.live(jobs.Member{Peer: "p"}, member.LogChunk{Stream: stream, Data: []byte{b}}); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			for at := 0; at < len(c.certified) && err == nil; at += 3 { // the last piece is short
				err = v.certified(api.LogChunk{Stream: stream, Data: []byte(c.certified[at:min(at+3, len(c.certified))])})
			}
			if err == nil {
				err = v.complete()
			}
			if rest != c.rest || (err != nil) != c.denied {
				t.Errorf("%s: %q was shown of %q, then %q, %v", stream, c.live, c.certified, rest, err)
			}
		}
	}
}
