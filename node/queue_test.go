package node

import (
	"fmt"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// names gives the jobs as session and number.
func names(jobs []*job) string {
	var words []string
	for _, j := range jobs {
		words = append(words, fmt.Sprintf("%s%d", strings.TrimRight(string(j.session.ID.Key[:]), "\x00"), j.in.Number))
	}
	return strings.Join(words, " ")
}

func newSession(name string) *session.Session {
	s := &session.Session{}
	copy(s.ID.Key[:], name)
	return s
}

func newJob(s *session.Session, number uint64, tokens int) *job {
	return &job{session: s, in: session.Input{Number: number, N: tokens}}
}

func TestQueue_TakesTurns(t *testing.T) {
	a, b, c := newSession("a"), newSession("b"), newSession("c")
	var q queue
	for _, j := range []*job{newJob(a, 1, 512), newJob(a, 2, 512), newJob(b, 1, 1), newJob(c, 1, 1), newJob(c, 2, 1)} {
		if !q.push(j) {
			t.Fatalf("step %d of %s was refused", j.in.Number, j.session.ID.Key)
		}
	}
	if q.push(newJob(a, 3, 1)) {
		t.Error("a third step of a session was taken")
	}
	for i, want := range []string{"a1", "b1 c1", "a2", "c2", ""} {
		if got := names(q.take(512)); got != want {
			t.Errorf("batch %d is %q, want %q", i, got, want)
		}
	}
	if q.steps != 0 || len(q.turns) != 0 || len(q.jobs) != 0 {
		t.Errorf("an empty queue holds %d steps, %d turns, %d sessions", q.steps, len(q.turns), len(q.jobs))
	}
}

func TestQueue_ServesEachPeerBeforeAnyTwice(t *testing.T) {
	var q queue
	for _, name := range []string{"a", "b", "c"} {
		s := newSession(name)
		s.ID.Owner = "greedy"
		q.push(newJob(s, 1, 400))
		q.push(newJob(s, 2, 400))
	}
	honest := newSession("x")
	honest.ID.Owner = "honest"
	for i, want := range []string{"a1 x1", "b1 x2", "c1 x3", "a2 x4"} {
		q.push(newJob(honest, uint64(i+1), 1))
		if got := names(q.take(512)); got != want {
			t.Errorf("batch %d is %q, want %q", i, got, want)
		}
	}
}

func TestQueue_TakesAStepLargerThanABatch(t *testing.T) {
	a, b := newSession("a"), newSession("b")
	var q queue
	q.push(newJob(a, 1, 20))
	q.push(newJob(b, 1, 1))
	if got := names(q.take(10)); got != "a1" {
		t.Errorf("batch %q, want a1", got)
	}
}

func TestQueue_DropsWhatIsAskedFor(t *testing.T) {
	a, b := newSession("a"), newSession("b")
	one, two := &stream{}, &stream{}
	var q queue
	for i, st := range []*stream{one, two} {
		j := newJob(a, uint64(i+1), 1)
		j.stream = st
		q.push(j)
	}
	q.push(newJob(b, 1, 1))
	if got := names(q.drop(a, func(j *job) bool { return j.stream == one })); got != "a1" {
		t.Errorf("dropped %q, want a1", got)
	}
	if q.steps != 2 {
		t.Errorf("%d steps wait, want 2", q.steps)
	}
	if got := names(q.drop(a, func(*job) bool { return true })); got != "a2" {
		t.Errorf("dropped %q, want a2", got)
	}
	if got := q.drop(a, func(*job) bool { return true }); got != nil {
		t.Errorf("dropped %q of a session without steps", names(got))
	}
	if got := names(q.take(512)); got != "b1" || q.steps != 0 {
		t.Errorf("batch %q with %d steps left, want b1 and none", got, q.steps)
	}
}

func TestMemory_OfTheLargestModelFitsAStream(t *testing.T) {
	const streamMemory = 16 << 20 // libp2p's limit for one stream
	l := protocol.Limits{Layers: 40, Hidden: 5120, Vocab: 125696, Context: 4096}
	push := protocol.MaxHeaderBytes + 4*protocol.MaxStepRows + protocol.MaxStepRows + 2*protocol.MaxStepRows*l.Hidden
	open := protocol.MaxHeaderBytes + protocol.MaxOfferBytes + 4*l.Context
	frame := maxFrameBytes(l)
	if frame < push || frame < open {
		t.Errorf("frames of %d bytes are reserved for, a push may have %d, an open %d", frame, push, open)
	}
	rows := resultBytes(l, protocol.WantRows, protocol.MaxStepRows)
	if stepsInFlight*frame > streamMemory || (stepsInFlight-1)*frame+rows > streamMemory {
		t.Errorf("%d steps in flight of %d bytes and a result of %d are more than a stream's %d", stepsInFlight, frame, rows, streamMemory)
	}
}
