package sim

import "testing"

// All 262,144 scenarios are played by make twins; here, every so manieth.
func TestTwinsOfFourDecideOnce(t *testing.T) {
	for i := 0; i < AllTwinsOfFour; i += 131 * slowness {
		if err := TwinsOfFour(i).Play(); err != nil {
			t.Fatalf("scenario %d, %+v: %v", i, TwinsOfFour(i), err)
		}
	}
}

func TestTwinsOfSevenDecideOnce(t *testing.T) {
	for seed := range uint64(400 / slowness) {
		if err := TwinsOfSeven(seed).Play(); err != nil {
			t.Fatalf("seed %d, %+v: %v", seed, TwinsOfSeven(seed), err)
		}
	}
}
