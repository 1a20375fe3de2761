package naivetest

import (
	"bytes"

	"filippo.io/edwards25519"
)

// charter is what the rest of the check looks at.
type charter struct {
	job                        [32]byte
	bytes                      []byte
	issued, acceptBy, end      uint64
	owner, submitter           []byte
	task, spec, request        any
	fault, f, n, quorum, match uint64
	checked                    bool   // by a check of the job's
	replace                    uint64 // most replacements
	roster, reserves           []seat
}

type seat struct{ peer, incarnation []byte }

// readCharter checks the form of a charter (sections 2 and 3).
func readCharter(net network, data []byte) charter {
	require(len(data) <= 8<<10, "a charter has at most 8 KiB")
	m := dict(net.unseal("muster/charter/1", data),
		"v", "issued", "accept_by", "start_by", "deadline", "end", "request", "attempt", "owner", "project", "submitter",
		"spec", "task", "class", "assurance", "effects?", "limits", "needs", "run_needs", "runners", "timeout", "policy", "fault", "f",
		"replace", "roll", "period", "nonce", "beacon", "roster", "reserves", "cause?", "supersedes?", "sealed?", "crit", "ext")
	c := charter{
		job: [32]byte(sum(data)), bytes: data,
		issued: date(m["issued"]), acceptBy: date(m["accept_by"]), end: date(m["end"]),
		owner: octets(m["owner"], 32), submitter: octets(m["submitter"], 32),
		task: strongLink(m["task"]), spec: strongLink(m["spec"]), request: octets(m["request"], 32),
		fault: number(m["fault"]), f: number(m["f"]),
		roster: readSeats(m["roster"]), reserves: readSeats(m["reserves"]),
	}
	require(number(m["v"]) == 1, "v is known")
	require(len(anyList(m["crit"])) == 0, "every crit is known, and none is")
	_, ok := m["ext"].(map[string]any)
	require(ok, "ext is a map")

	startBy, deadline, timeout := date(m["start_by"]), date(m["deadline"]), date(m["timeout"])
	require(0 < c.issued && c.issued <= c.acceptBy && c.acceptBy <= startBy && startBy <= deadline && deadline <= c.end, "dates in order")
	require(c.end-c.issued <= 10*365*24*3_600_000, "at most ten years")
	require(0 < timeout && timeout <= deadline-c.issued, "a timeout within the deadline")

	require(number(m["attempt"]) <= 3, "attempt 0 to 3")
	number(m["period"])
	octets(m["policy"], 32)
	octets(m["nonce"], 32)
	strongLink(m["roll"])
	require(len(anyBytes(m["beacon"])) == 0, "the beacon is empty in version 1")
	require(len(text(m["project"])) <= 128, "project of at most 128 bytes")
	require(len(text(m["class"])) <= 64, "class of at most 64 bytes")
	readNeeds(m["needs"])
	readNeeds(m["run_needs"])
	limits := list(m["limits"], 3)
	require(number(limits[0]) <= 1<<40 && number(limits[1]) <= 1<<40 && number(limits[2]) <= 1<<30, "limits")
	readOptional(m)

	c.thresholds()
	switch text(m["assurance"]) {
	case "single": // one report makes a value valid (deviations, assurance)
		c.match = 1
	case "replicated":
		require(c.n != 1, "nobody checks where n = 1")
	case "majority-equal":
		require(c.match > 1, "where one report counts there is nothing to be equal to")
	case "endorsed": // by a check, of one report (deviations, assurance)
		require(c.fault == 1, "a check where members may lie")
		require(c.n != 1, "nobody checks where n = 1")
		c.match, c.checked = 1, true
	default:
		require(false, "the assurance is known")
	}
	if v, ok := m["effects"]; ok {
		require(text(v) == "once" || text(v) == "at-least-once", "the effects are known")
		require(text(m["assurance"]) == "single", "what acts runs on one member at a time")
	}
	require(c.match <= number(m["runners"]) && number(m["runners"]) <= c.n, "runners between those who must match, and n")
	c.replace = number(m["replace"])
	require(c.replace <= c.f, "at most f replacements")
	c.checkKeys()
	return c
}

func readOptional(m map[string]any) {
	if v, ok := m["cause"]; ok {
		link(v)
	}
	if v, ok := m["supersedes"]; ok {
		octets(v, 32)
	}
	if v, ok := m["sealed"]; ok {
		require(len(anyBytes(v)) > 0, "what is empty is left out")
	}
}

// thresholds are section 3's: n is computed from f and the fault model.
func (c *charter) thresholds() {
	require(c.f <= 31, "n is at most 31")
	switch c.fault {
	case 1:
		c.n, c.quorum, c.match = 3*c.f+1, 2*c.f+1, c.f+1
	case 2:
		c.n, c.quorum, c.match = 2*c.f+1, c.f+1, 1
	default:
		require(false, "the fault model is known")
	}
	require(c.n <= 31, "n is at most 31")
	require(uint64(len(c.roster)) == c.n, "the roster has exactly n entries")
	require(uint64(len(c.reserves)) <= c.f, "at most f reserves")
}

// checkKeys wants roster and reserves distinct, and no key of small order.
func (c *charter) checkKeys() {
	notSmall(c.submitter)
	notSmall(c.owner)
	all := append(append([]seat{}, c.roster...), c.reserves...)
	for i, s := range all {
		notSmall(s.peer)
		for _, other := range all[:i] {
			require(!bytes.Equal(s.peer, other.peer), "roster and reserves are distinct")
		}
	}
}

// notSmall refuses keys whose eightfold is the identity. What is no point
// verifies nothing.
func notSmall(key []byte) {
	point, err := new(edwards25519.Point).SetBytes(key)
	if err != nil {
		return
	}
	require(new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 0, "no key of small order")
}

func readSeats(v any) []seat {
	var seats []seat
	for _, entry := range anyList(v) {
		s := list(entry, 2)
		seats = append(seats, seat{octets(s[0], 32), octets(s[1], 16)})
	}
	return seats
}

// readNeeds reads sorted labels and named quantities.
func readNeeds(v any) {
	needs := list(v, 2)
	last := ""
	labels := anyList(needs[0])
	require(len(labels) <= 32, "at most 32 labels")
	for _, l := range labels {
		require(last < text(l), "labels are sorted, none empty, none twice")
		require(len(text(l)) <= 128, "labels of at most 128 bytes")
		last = text(l)
	}
	named := quantities(needs[1])
	require(len(named) <= 32, "at most 32 quantities")
	for name := range named {
		require(len(name) >= 1 && len(name) <= 64, "quantities have names of 1 to 64 bytes")
	}
}

// checkSignatures wants the submitter's over the charter, and the owner's over
// what an owner signs where that is another key, and no other.
func (c charter) checkSignatures(net network, submitter []byte, owner any) {
	require(verified(c.submitter, c.bytes, submitter), "signed by the submitter")
	if bytes.Equal(c.owner, c.submitter) {
		require(owner == nil, "no byte that no check covers")
		return
	}
	statement := net.seal("muster/owner/1", []any{c.task, c.spec, c.fault, c.f, c.request, c.acceptBy})
	require(verified(c.owner, statement, octets(owner, 64)), "signed by the owner")
}
