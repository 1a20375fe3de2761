package normal

import (
	"fmt"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/muster-network/muster/consensus"
	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/jobs"
)

func form(t testing.TB, c jobs.Compare, e End) consensus.Hash {
	t.Helper()
	h, err := Form(admission.Network{1}, c, e)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func file(path, data string) End {
	return End{Value: consensus.Value{Kind: consensus.Result}, Out: []File{{path, []byte(data)}}}
}

func TestWhatIsEqualUnderWhichComparison(t *testing.T) {
	by := jobs.Compare{}
	rounded := jobs.Compare{Float: "1e-3"}
	without := jobs.Compare{Ignore: []string{"/at", "/hosts/0", "/a~1b"}}
	text := jobs.Compare{Text: true}
	for _, test := range []struct {
		why   string
		c     jobs.Compare
		path  string
		a, b  string
		equal bool
	}{
		{"members in another order", by, "x.json", `{"a":1,"b":[2]}`, "{ \"b\": [2],\n\"a\": 1 }", true},
		{"other members", by, "x.json", `{"a":1}`, `{"a":2}`, false},
		{"elements in another order", by, "x.json", `[1,2]`, `[2,1]`, false},
		{"numbers by value", by, "x.json", `[1, 100, 0.5, -0]`, `[1.0, 1e2, 5e-1, 0]`, true},
		{"a number and its text", by, "x.json", `[1]`, `["1"]`, false},
		{"null and false", by, "x.json", `[null]`, `[false]`, false},
		{"an escape and what it stands for", by, "x.json", `["\u0041"]`, `["A"]`, true},
		{"near, and no tolerance", by, "x.json", `[0.5]`, `[0.50001]`, false},
		{"near", rounded, "x.json", `{"auc":0.91204}`, `{"auc":0.91196}`, true},
		{"near a round number", rounded, "x.json", `[0.5]`, `[0.4999999]`, true},
		{"far", rounded, "x.json", `[0.912]`, `[0.914]`, false},
		{"near, on either side of a boundary", rounded, "x.json", `[0.0005]`, `[0.00049]`, false},
		{"huge", rounded, "x.json", `[1e300]`, `[1e300]`, true},
		{"huge, and written otherwise", rounded, "x.json", `[1e300]`, `[1000E297]`, true},
		{"huge, another", rounded, "x.json", `[1e300]`, `[2e300]`, false},
		{"next to nothing", jobs.Compare{Float: "1e-40"}, "x.json", `[0]`, `[1e-45]`, true},
		{"beyond all bounds", rounded, "x.json", `[1e99999]`, `[1e99999]`, true},
		{"beyond all bounds, another", rounded, "x.json", `[1e99999]`, `[2e99999]`, false},
		{"what is ignored", without, "x.json", `{"at":1,"a":2}`, `{"at":9,"a":2}`, true},
		{"what is ignored and absent", without, "x.json", `{"a":2}`, `{"at":9,"a":2}`, true},
		{"what is ignored elsewhere", without, "x.json", `{"b":{"at":1}}`, `{"b":{"at":2}}`, false},
		{"an element that is ignored", without, "x.json", `{"hosts":["a","b"]}`, `{"hosts":["c","b"]}`, true},
		{"an element beside it", without, "x.json", `{"hosts":["a","b"]}`, `{"hosts":["a","c"]}`, false},
		{"a name with a slash", without, "x.json", `{"a/b":1}`, `{"a/b":2}`, true},
		{"a member twice", by, "x.json", `{"a":1,"a":2}`, `{"a":2}`, false},
		{"JSON in another file", by, "x.txt", `{"a":1}`, `{ "a":1}`, false},
		{"escapes that stand for nothing", by, "x.json", `["\ud800"]`, `["\ud801"]`, false},
		{"JSON and more", by, "x.json", `{} {}`, `{}`, false},
		{"no JSON, alike", by, "x.json", `{`, `{`, true},
		{"line ends", text, "x.txt", "a  \r\nb\n\n", "a\nb", true},
		{"line ends, and no text", by, "x.txt", "a \n", "a\n", false},
		{"white space within", text, "x.txt", "a b", "a  b", false},
		{"indentation", text, "x.txt", " a", "a", false},
		{"bytes that are no text", text, "x.bin", "\xff \n", "\xff\n", false},
	} {
		a, b := form(t, test.c, file(test.path, test.a)), form(t, test.c, file(test.path, test.b))
		if (a == b) != test.equal {
			t.Errorf("%s: %q and %q equal: %v", test.why, test.a, test.b, a == b)
		}
	}
}

func TestAnEndIsMoreThanItsFiles(t *testing.T) {
	base := End{Value: consensus.Value{Kind: consensus.Result}, Stdout: []byte(`{"a": 1}`), Out: []File{{"a", []byte("x")}, {"b", nil}}}
	h := form(t, jobs.Compare{}, base)
	for name, change := range map[string]func(*End){
		"standard output":    func(e *End) { e.Stdout = []byte(`{"a": 2}`) },
		"no standard output": func(e *End) { e.Stdout = nil },
		"another name":       func(e *End) { e.Out = []File{{"a", []byte("x")}, {"c", nil}} },
		"a file less":        func(e *End) { e.Out = e.Out[:1] },
		"a failure":          func(e *End) { e.Value = consensus.Value{Kind: consensus.Failed, Class: consensus.FailedExit, Code: 1} },
	} {
		other := base
		change(&other)
		if form(t, jobs.Compare{}, other) == h {
			t.Errorf("%s: equal", name)
		}
	}
	same := base
	same.Stdout = []byte("{\"a\":1.0}\n")
	if form(t, jobs.Compare{}, same) != h {
		t.Error("standard output that is JSON is compared by its bytes")
	}
}

// Rounding is exact: it is held against rational numbers.
func TestNumbersAreRoundedToTheNearestMultiple(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := fmt.Sprintf("%d.%03de%d", rapid.IntRange(-5000, 5000).Draw(t, "whole"), rapid.IntRange(0, 999).Draw(t, "part"), rapid.IntRange(-30, 30).Draw(t, "e"))
		stepText := fmt.Sprintf("%de%d", rapid.IntRange(1, 99).Draw(t, "step"), rapid.IntRange(-20, 20).Draw(t, "step e"))
		n, err := parseDecimal(text)
		if err != nil {
			t.Fatal(err)
		}
		step, err := parseDecimal(stepText)
		if err != nil {
			t.Fatal(err)
		}
		x, _ := new(big.Rat).SetString(text)
		s, _ := new(big.Rat).SetString(stepText)
		k := n.multiple(step)
		// k*s - s/2 <= x < k*s + s/2
		half := new(big.Rat).Quo(s, big.NewRat(2, 1))
		at := new(big.Rat).Mul(new(big.Rat).SetInt(k), s)
		if x.Cmp(new(big.Rat).Sub(at, half)) < 0 || x.Cmp(new(big.Rat).Add(at, half)) >= 0 {
			t.Fatalf("%s is rounded to %s times %s", text, k, stepText)
		}
	})
}

// What is compared comes from executors: whatever it is, it comes to one form.
func FuzzForm(f *testing.F) {
	f.Add("x.json", []byte(`{"a":[1.5e3,"b",null,true]}`), true)
	f.Add("x.txt", []byte("a \r\n"), false)
	f.Fuzz(func(t *testing.T, path string, data []byte, text bool) {
		c := jobs.Compare{Float: "1e-3", Ignore: []string{"/a"}, Text: text}
		e := End{Value: consensus.Value{Kind: consensus.Result}, Stdout: data, Out: []File{{path, data}, {"x.json", data}}}
		first := form(t, c, e)
		if second := form(t, c, e); first != second {
			t.Error("two forms")
		}
		r, err := newRules(c)
		if err != nil {
			t.Fatal(err)
		}
		if once, err := r.json(data); err == nil && len(once) > 8*len(data)+64 {
			t.Errorf("%d bytes come to %d", len(data), len(once))
		}
	})
}

// Part of the protocol: members that differ here do not agree.
func TestFormsMatchTheirGoldenVectors(t *testing.T) {
	for name, test := range map[string]struct {
		c    jobs.Compare
		e    End
		want string
	}{
		"json":    {jobs.Compare{Float: "1e-3", Ignore: []string{"/at"}}, End{Value: consensus.Value{Kind: consensus.Result}, Stdout: []byte(`{"b":[1.0005,-2],"at":7}`), Out: []File{{"a.json", []byte(`{"\u00e9":null}`)}}}, "22ba0025eb45ad25db3cdb560652f53f26ea90da6c85214b7799867c56a24ef2"},
		"text":    {jobs.Compare{Text: true}, End{Value: consensus.Value{Kind: consensus.Result}, Stdout: []byte("a \r\nb\n"), Out: []File{}}, "80cf57d7f7c2682378400ae0a25561346148833bfefb2c9c40687fc5b9784d9c"},
		"bytes":   {jobs.Compare{}, End{Value: consensus.Value{Kind: consensus.Result}, Stdout: []byte{0xff}, Out: []File{{"d/e", []byte("x")}}}, "c6929869e02807e8628b237609e39504edb65d97f174ced57ffea679827ab904"},
		"failure": {jobs.Compare{}, End{Value: consensus.Value{Kind: consensus.Failed, Class: consensus.FailedExit, Code: 3}, Out: []File{}}, "e0952e89efb2863d585e3de435889aa7ebb10a431547256d9448f13f8cf62f8d"},
	} {
		if got := form(t, test.c, test.e).String(); got != test.want {
			t.Errorf("%s comes to %s", name, got)
		}
	}
}
