package terminal

import "strings"

// recall is where in the history the user is, by Up and Down.
type recall struct {
	back  int    // entries, from the newest; 0: in the message that is being written
	draft editor // that message
}

// older shows the entry before, newer the one after.
func (t *Terminal) older() { t.visit(t.recall.back + 1) }
func (t *Terminal) newer() { t.visit(t.recall.back - 1) }

func (t *Terminal) visit(back int) {
	switch {
	case back < 0 || back > t.cfg.History.len():
		t.screen.print(bell)
		return
	case t.recall.back == 0:
		t.recall.draft = t.editor
	}
	t.recall.back = back
	if back == 0 {
		t.editor = t.recall.draft
		return
	}
	t.editor.set(t.cfg.History.entry(t.cfg.History.len() - back))
}

// finder looks for a text in the history, backwards (Ctrl-R).
type finder struct {
	on     bool
	wanted string
	at     int // the entry that was found; all of them: none yet
	failed bool
	before editor
}

// find does what a key asks for in a search. Keys that are for the message end it.
func (t *Terminal) find(key, text string) (taken bool) {
	f := &t.finder
	switch key {
	case "ctrl+r":
		t.seek(f.at - 1)
	case "ctrl+s":
		t.seekNewer()
	case "ctrl+g", "ctrl+c", "esc":
		t.editor = f.before
		f.on = false
	case "backspace", "ctrl+h":
		f.wanted = strings.TrimSuffix(f.wanted, lastCluster(f.wanted))
		t.seek(t.cfg.History.len() - 1)
	default:
		if text == "" {
			f.on = false
			return false
		}
		f.wanted += strings.ReplaceAll(Printable(text), "\n", " ")
		t.seek(min(f.at, t.cfg.History.len()-1))
	}
	return true
}

// seek shows the newest entry from some place on that has the wanted text.
func (t *Terminal) seek(from int) {
	for i := from; i >= 0; i-- {
		if t.found(i) {
			return
		}
	}
	t.finder.failed = t.finder.wanted != ""
}

func (t *Terminal) seekNewer() {
	for i := t.finder.at + 1; i < t.cfg.History.len(); i++ {
		if t.found(i) {
			return
		}
	}
	t.finder.failed = t.finder.wanted != ""
}

// found shows an entry if it has the wanted text.
func (t *Terminal) found(i int) bool {
	f := &t.finder
	entry := t.cfg.History.entry(i)
	at := strings.LastIndex(entry, f.wanted)
	if at < 0 || f.wanted == "" {
		return false
	}
	f.at, f.failed = i, false
	t.editor.set(entry)
	t.editor.move(at)
	t.recall = recall{back: t.cfg.History.len() - i, draft: f.before}
	return true
}

// row shows the search below the message.
func (f *finder) row() string {
	if f.failed {
		return "no such message: " + f.wanted
	}
	return "search back: " + f.wanted
}

// complete completes what is before the cursor as far as there is one way to do so, and lists the ways if there are
// several.
func (t *Terminal) complete() {
	e := &t.editor
	if t.cfg.Complete == nil {
		return
	}
	before := e.text[:e.cursor]
	ways := t.cfg.Complete(before)
	if len(ways) == 0 {
		t.screen.print(bell)
		return
	}
	common := ways[0]
	for _, w := range ways[1:] {
		for !strings.HasPrefix(w, common) {
			common = strings.TrimSuffix(common, lastCluster(common))
		}
	}
	if len(common) > len(before) && strings.HasPrefix(common, before) {
		e.insert(common[len(before):], false)
		return
	}
	if len(ways) > 1 {
		t.listing = ways
	}
}
