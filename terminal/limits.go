package terminal

import "time"

const (
	// escTimeout is how long the rest of a key's sequence, or of a character, is waited for: over ssh they may come apart.
	escTimeout = 100 * time.Millisecond
	// settleTimeout is how long a terminal may take to say where its cursor is, over ssh as well.
	settleTimeout = 250 * time.Millisecond
	// stopTimeout is how long a process may go on after it has stopped itself; if it is still there then, nobody stops it.
	stopTimeout = 50 * time.Millisecond
	// statusEvery is how often the line below an answer is drawn anew while nothing comes.
	statusEvery = 250 * time.Millisecond
	// quietAfter is when that line begins to tell how long nothing has come.
	quietAfter = 2 * time.Second

	// maxText bounds a message: 16 times the 4,096 tokens of a context at 16 bytes each.
	maxText = 1 << 20
	// maxReady bounds what is written ahead while an answer comes.
	maxReady = 16
	// maxEcho is how many lines of a message are repeated on the screen when it is sent: of a longer one, the user has a copy.
	maxEcho = 200
	// maxUndo bounds the steps that can be taken back, maxUndoBytes the text that is kept for them.
	maxUndo      = 100
	maxUndoBytes = 4 << 20
	// maxListing bounds the lines that Tab shows.
	maxListing = 8
	// maxLine bounds what is remembered of an answer's unfinished line, to know the column where it ends: 1,000 lines of
	// 64 columns.
	maxLine = 64 << 10

	// maxHistory bounds the messages that are kept, maxEntry each and maxHistoryBytes all of them. The file may have twice
	// as much, so that it is not written anew each time.
	maxHistory      = 1000
	maxEntry        = 64 << 10
	maxHistoryBytes = 2 << 20

	// leastWidth is the narrowest screen that is drawn on: a prompt, a wide character, and the cursor behind it.
	leastWidth, leastHeight = 6, 2
	// defaultWidth and defaultHeight are the size of a terminal that does not tell.
	defaultWidth, defaultHeight = 80, 24
	// tabWidth is how wide a tab is in a message that is being written.
	tabWidth = 4
)
