package jobs_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/jobs"
)

func TestAStateGoesForwardOnly(t *testing.T) {
	order := []jobs.State{jobs.Pending, jobs.Accepted, jobs.Queued, jobs.Running, jobs.Agreeing}
	terminal := []jobs.State{jobs.Succeeded, jobs.Failed, jobs.Cancelled}
	all := append(append(append([]jobs.State{}, order...), terminal...), jobs.Refused)
	place := func(s jobs.State) int {
		for i, o := range order {
			if o == s {
				return i
			}
		}
		return len(order)
	}
	for _, from := range all {
		for _, to := range all {
			want := place(from) < place(to) && (to != jobs.Refused || from == jobs.Pending)
			if got := from.Can(to); got != want {
				t.Errorf("%s to %s: %v, want %v", from, to, got, want)
			}
		}
		if !from.Valid() {
			t.Errorf("%s is no state", from)
		}
	}
	for _, s := range terminal {
		if !s.Terminal() {
			t.Errorf("%s is not terminal", s)
		}
	}
	if jobs.State("lost").Valid() || jobs.State("").Valid() || jobs.Refused.Terminal() {
		t.Error("a state that is none, or a refusal that is an outcome")
	}
}

func TestIDsAreFoundByWhatPeopleType(t *testing.T) {
	ids := []string{"bafyreiaaaa9zt1", "bafyreiabbb4kd2", "bafyreicccc4kx7", "bafyreicccc9zz9"}
	for text, want := range map[string]string{
		"bafyreiaaaa9zt1":   "bafyreiaaaa9zt1",
		"bafyreiaa":         "bafyreiaaaa9zt1",
		"b..9zt1":           "bafyreiaaaa9zt1",
		"b..9zt":            "bafyreiaaaa9zt1",
		"bafy...4kd2":       "bafyreiabbb4kd2",
		"..kx7":             "bafyreicccc4kx7",
		"bafyreic..9z":      "bafyreicccc9zz9",
		"b..ccc4kx7":        "bafyreicccc4kx7",
		"bafyreiabbb..4kd2": "bafyreiabbb4kd2",
	} {
		if got, err := jobs.MatchPrefix(text, ids); got != want || err != nil {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
	for text, code := range map[string]string{
		"": jobs.CodeNotFound, "x": jobs.CodeNotFound, "..": jobs.CodeNotFound, "b..": jobs.CodeNotFound,
		"b..zt1x": jobs.CodeNotFound, "c..9zt1": jobs.CodeNotFound,
		"b": jobs.CodeAmbiguous, "bafyreia": jobs.CodeAmbiguous, "b..4k": jobs.CodeAmbiguous, "b..9z": jobs.CodeAmbiguous,
	} {
		_, err := jobs.MatchPrefix(text, ids)
		var p *jobs.Problem
		if !errors.As(err, &p) || p.Code != code {
			t.Errorf("%q: got %v, want %s", text, err, code)
		}
	}
	if _, err := jobs.MatchPrefix("b..9z", ids); err.Error() != `2 jobs match "b..9z": b..9zt1, b..9zz9` {
		t.Error(err)
	}
	for _, id := range ids {
		if got, err := jobs.MatchPrefix(jobs.Short(id), ids); got != id || err != nil {
			t.Errorf("%s shown as %s: got %q, %v", id, jobs.Short(id), got, err)
		}
	}
	if got := jobs.Short("short"); got != "short" {
		t.Errorf("got %q", got)
	}
}

func TestASizeStandsForOneNumberOfFaultsOrIsRefused(t *testing.T) {
	for _, test := range []struct {
		size   uint64
		crash  bool
		faults uint64
		try    string
	}{
		{1, false, 0, ""}, {4, false, 1, ""}, {7, false, 2, ""}, {31, false, 10, ""},
		{1, true, 0, ""}, {3, true, 1, ""}, {5, true, 2, ""}, {31, true, 15, ""},
		{0, false, 0, "size 1 or 4"}, {2, false, 0, "size 1 or 4"}, {3, false, 0, "size 1 or 4"}, {5, false, 0, "size 4 or 7"},
		{30, false, 0, "size 28 or 31"}, {32, false, 0, "size 31"}, {34, false, 0, "size 31"}, {^uint64(0), false, 0, "size 31"},
		{0, true, 0, "size 1 or 3"}, {2, true, 0, "size 1 or 3"}, {4, true, 0, "size 3 or 5"}, {32, true, 0, "size 31"}, {33, true, 0, "size 31"},
	} {
		model, f, err := jobs.Quorum{Size: test.size, Crash: test.crash}.Faults()
		var p *jobs.Problem
		if test.try != "" {
			if !errors.As(err, &p) || p.Code != jobs.CodeQuorum || p.Try != test.try {
				t.Errorf("%+v: got %v, try %+v", test, err, p)
			}
			continue
		}
		if err != nil || f != test.faults {
			t.Errorf("%+v: f = %d, %v", test, f, err)
			continue
		}
		if n, err := model.For(f); err != nil || uint64(n.N) != test.size || (model == consensus.Crash) != test.crash {
			t.Errorf("%+v: %v with f = %d makes %d members, %v", test, model, f, n.N, err)
		}
	}
}

func TestAProblemReadsAsWhatAndWhy(t *testing.T) {
	if got := (&jobs.Problem{What: "no job", Why: "gone", Try: "x"}).Error(); got != "no job: gone" {
		t.Error(got)
	}
	if got := (&jobs.Problem{What: "no job"}).Error(); got != "no job" {
		t.Error(got)
	}
}

func TestPathsStayBelowTheirFolder(t *testing.T) {
	for p, good := range map[string]bool{
		"a": true, "a/b.txt": true, "..a/b": true, "": false, "/a": false, "a//b": false, "a/": false, "./a": false, "a/../b": false,
		"..": false, "a\x00": false, strings.Repeat("a", 256): false, strings.Repeat("a/", 600) + "a": false,
	} {
		if err := jobs.CheckPath(p); (err == nil) != good {
			t.Errorf("%q: %v", p, err)
		}
	}
}

func TestAMemberIsMeantByNameOrByPeerIDOrTheBeginningOfOne(t *testing.T) {
	all := []jobs.Member{{Peer: "12Dabc", Name: "elm-lynx"}, {Peer: "12Dabd", Name: "fig-weasel"}, {Peer: "12Dab", Name: "moss-crow"}, {Peer: "12Dx", Name: "moss-crow"}}
	for text, want := range map[string]string{"elm-lynx": "12Dabc", "12Dabd": "12Dabd", "12Dab": "12Dab", "12Dx": "12Dx",
		"": jobs.CodeNotFound, "elm": jobs.CodeNotFound, "12Da": jobs.CodeAmbiguous, "moss-crow": jobs.CodeAmbiguous} {
		m, err := jobs.MatchMember(text, all)
		p := new(jobs.Problem)
		if errors.As(err, &p); m.Peer != want && p.Code != want {
			t.Errorf("%q is %q, %v; want %s", text, m.Peer, err, want)
		}
	}
}
