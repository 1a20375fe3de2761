package exectest

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/muster-network/muster/jobs/exec"
)

// crowd has a program copy 20,000 files whose paths take more than two MiB.
func (s suite) crowd(t *testing.T) {
	req := s.request("mirror", "/in", "/out")
	req.Memory += 512 << 20
	for i := range 20_000 {
		path := fmt.Sprintf("%02d/%05d%s", i/1000, i, strings.Repeat("x", 100))
		req.Inputs = append(req.Inputs, exec.File{Path: path, Data: []byte{byte(i)}})
	}
	res := do(t, s.e, req)
	want(t, res, exec.Exited, 0)
	if !reflect.DeepEqual(res.Out, req.Inputs) {
		t.Errorf("%d files came out", len(res.Out))
	}
}
