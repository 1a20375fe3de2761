package jobs

import (
	"fmt"
	"strings"
)

// shortTail is how much of an id's end Short shows. All ids begin alike, so the
// end is what tells them apart.
const shortTail = 4

// Short returns an id as tables show it: b..9zt1. MatchPrefix takes it back.
func Short(id string) string {
	if len(id) <= 1+2+shortTail {
		return id
	}
	return id[:1] + ".." + id[len(id)-shortTail:]
}

// MatchPrefix returns the one id that a person means: a whole id, the beginning
// of one, or head and tail around dots, as Short and messages show it. A short
// tail may itself be cut: b..9z means b..9zt1. No match and several are
// Problems.
func MatchPrefix(text string, ids []string) (string, error) {
	var found []string
	for _, id := range ids {
		if id == text {
			return id, nil
		}
		if matches(text, id) {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", &Problem{Code: CodeNotFound, What: fmt.Sprintf("no job %q", text), Try: "muster ps"}
	}
	shown := make([]string, 0, 4)
	for _, id := range found[:min(len(found), 4)] {
		shown = append(shown, Short(id))
	}
	return "", &Problem{
		Code: CodeAmbiguous,
		What: fmt.Sprintf("%d jobs match %q", len(found), text),
		Why:  strings.Join(shown, ", "),
		Try:  "more letters of the id",
	}
}

// MatchMember returns the one member that a person means: by peer id, the
// beginning of one, or name. No match and several are Problems.
func MatchMember(text string, members []Member) (Member, error) {
	var found []Member
	var names []string
	for _, m := range members {
		if m.Peer == text {
			return m, nil
		}
		if text != "" && (m.Name == text || strings.HasPrefix(m.Peer, text)) {
			found = append(found, m)
		}
		names = append(names, m.Name)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Member{}, &Problem{Code: CodeNotFound, What: fmt.Sprintf("no member %.64q in the job", text),
			Why: "its members are " + strings.Join(names, ", "), Try: "one of these names"}
	}
	return Member{}, &Problem{Code: CodeAmbiguous, What: fmt.Sprintf("%d members match %.64q", len(found), text), Try: "the whole peer id"}
}

func matches(text, id string) bool {
	head, tail, dots := strings.Cut(text, "..")
	if text == "" || !strings.HasPrefix(id, head) {
		return false
	}
	tail = strings.TrimPrefix(tail, ".")
	end := id[max(len(id)-shortTail, 0):]
	return !dots || tail != "" && (strings.HasSuffix(id, tail) || strings.HasPrefix(end, tail))
}
