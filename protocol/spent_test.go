package protocol

import (
	"bytes"
	"reflect"
	"testing"
	"time"
)

func TestAndSpent_StaysWhatMayTravel(t *testing.T) {
	ms := time.Millisecond
	got := AndSpent([]Spent{{Waited: ms}}, Spent{Waited: -ms, Computed: 2*ms + 1})
	if want := []Spent{{Waited: ms}, {Computed: 2 * ms}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	full := make([]Spent, MaxHops)
	full[1].Waited = ms
	more := AndSpent(full, Spent{Waited: 2 * time.Hour})
	if len(more) != MaxHops || more[0].Waited != ms || more[MaxHops-1].Waited != time.Hour {
		t.Errorf("behind %d hops it is %v", MaxHops, more)
	}
	if full[0].Waited != 0 || full[MaxHops-1].Waited != 0 {
		t.Error("what the hops before said has been changed")
	}
	var b bytes.Buffer
	if err := WriteMessage(&b, Result{Number: 1, Final: true, Spent: more}); err != nil {
		t.Fatal(err)
	}
	if m, err := ReadMessage(&b, testLimits); err != nil || !reflect.DeepEqual(m.(Result).Spent, more) {
		t.Errorf("it came as %v (%v)", m, err)
	}
}

func TestSpent_TakesFewBytes(t *testing.T) {
	size := func(m Result) int {
		var b bytes.Buffer
		if err := WriteMessage(&b, m); err != nil {
			t.Fatal(err)
		}
		return b.Len()
	}
	bare := Result{Number: 1, Final: true}
	told := bare
	for range 4 {
		told.Spent = AndSpent(told.Spent, Spent{Waited: 90 * time.Microsecond, Computed: 12 * time.Millisecond})
	}
	if n := size(told) - size(bare); n > 5+4*4 {
		t.Errorf("the times of 4 hops take %d bytes", n)
	}
}
