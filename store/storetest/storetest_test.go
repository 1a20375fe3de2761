package storetest

import (
	"testing"

	"github.com/muster-network/muster/store"
)

func TestMemoryMeetsTheContract(t *testing.T) {
	Run(t, func(*testing.T) store.Blocks { return &Memory{} })
}
