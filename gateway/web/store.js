// Where conversations are kept: in this browser's IndexedDB. Where it has none, until the page is closed.
const name = "baichuan";
const table = "talks";

let database = null;

function promised(request) {
  return new Promise((done, fail) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => fail(request.error);
  });
}

// open gives all conversations, and whether others will be kept.
export async function open() {
  try {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(table, { keyPath: "id" });
    database = await promised(request);
    return { talks: await promised(database.transaction(table).objectStore(table).getAll()), kept: true };
  } catch {
    database = null;
    return { talks: [], kept: false };
  }
}

// write does one thing to the table. What can't be kept (the disk is full) stays as it is on the page.
async function write(change) {
  if (!database) return;
  try {
    await promised(change(database.transaction(table, "readwrite").objectStore(table)));
    others.postMessage(null);
  } catch (e) {
    console.warn("keep a conversation:", e);
  }
}

export const save = (talk) => write((t) => t.put(talk));
export const remove = (id) => write((t) => t.delete(id));
export const removeAll = () => write((t) => t.clear());

// Other tabs of this page keep theirs in the same place.
const others = new BroadcastChannel("baichuan.talks");

// onOthers has f called with all conversations when another tab has changed some.
export function onOthers(f) {
  others.onmessage = async () => {
    if (database) f(await promised(database.transaction(table).objectStore(table).getAll()));
  };
}
