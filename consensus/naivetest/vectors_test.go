package naivetest

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

// What the text alone makes of the vectors is what they say: so a stranger who
// writes a verifier from it can hold his against them.
func TestTheVerifierFromTheTextJudgesTheVectorsAsTheySay(t *testing.T) {
	data, err := os.ReadFile("../testdata/certificates.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Genesis      string `json:"genesis"`
		Certificates []struct {
			Name, Certificate, Job, Value string
			Refuse                        int
			Height, Round                 uint64
			Signers                       []int
		} `json:"certificates"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	genesis := must(hex.DecodeString(file.Genesis))
	accepted := 0
	for _, c := range file.Certificates {
		v, err := Verify(genesis, must(hex.DecodeString(c.Certificate)))
		if (err == nil) != (c.Refuse == 0) {
			t.Errorf("%s: %v, the vector says step %d", c.Name, err, c.Refuse)
		}
		if err != nil {
			continue
		}
		accepted++
		same := hex.EncodeToString(v.Job[:]) == c.Job && hex.EncodeToString(v.Value[:]) == c.Value && v.Height == c.Height && v.Round == c.Round
		if !same || len(v.Signers) != len(c.Signers) {
			t.Errorf("%s: %+v, the vector says %+v", c.Name, v, c)
		}
	}
	if accepted == 0 || accepted == len(file.Certificates) {
		t.Errorf("%d of %d verify", accepted, len(file.Certificates))
	}
}
