package node

import (
	"context"
	"errors"
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

func TestARunThatIsReadAgainAfterARestartIsShownOnce(t *testing.T) {
	var out, err string
	v := viewer{show: func(c api.LogChunk) error {
		if c.Stream == "stderr" {
			err += string(c.Data)
		} else {
			out += string(c.Data)
		}
		return nil
	}}
	chunks := func(text ...string) (all []member.LogChunk) { // stdout and stderr in turn
		for i, s := range text {
			all = append(all, member.LogChunk{Stream: [...]string{"stdout", "stderr"}[i%2], Data: []byte(s)})
		}
		return all
	}
	for _, process := range [][]member.LogChunk{ // by how each is cut
		chunks("He", "on", "llo"), chunks("H", "one"), chunks("Hello, Ada", "one, two", "\n", "\n"),
	} {
		asked := 0
		e := v.follow(t.Context(), jobs.Member{Peer: "p"}, func(_ context.Context, at int, _ bool) ([]member.LogChunk, bool, error) {
			if asked++; at == len(process) {
				return nil, false, errors.New("the connection is gone")
			}
			return process[at : at+1], false, nil
		}, true)
		if !errors.Is(e, errNoLogs) || asked != len(process)+1 {
			t.Errorf("asked %d times: %v", asked, e)
		}
	}
	if out != "Hello, Ada\n" || err != "one, two\n" {
		t.Errorf("%q and %q are shown", out, err)
	}
	for stream, text := range map[string]string{"stdout": out, "stderr": err} {
		if e := v.certified(api.LogChunk{Stream: stream, Data: []byte(text)}); e != nil {
			t.Error(e)
		}
	}
	if e := v.complete(); e != nil {
		t.Error(e)
	}
}
