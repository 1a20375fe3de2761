package main

import "testing"

func TestOnlyAFactorIsGood(t *testing.T) {
	for _, test := range []struct {
		end, result string
		good        bool
	}{
		{"result", "7\n", true}, {"result", "13\n", true}, {"result", "1\n", false}, {"result", "91\n", false}, {"result", "8\n", false},
		{"result", "", false}, {"result", "seven\n", false}, {"exit", "7\n", false},
	} {
		if err := check(test.end, "91", test.result); (err == nil) != test.good {
			t.Errorf("%s %q: %v", test.end, test.result, err)
		}
	}
}
