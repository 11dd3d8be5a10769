// The page of the chat. What it has seen last (`room`, `told`) and what nobody has confirmed yet (`waiting`) outlive a
// connection, so that the next one goes on where this one ended: nothing is missed, nothing is shown or said twice.

const $ = (id) => document.getElementById(id);

// crypto.randomUUID() is only for pages over TLS or from this machine.
const newId = () => [...crypto.getRandomValues(new Uint8Array(12))].map((b) => b.toString(16).padStart(2, "0")).join("");

const page = newId();
const seen = new Set();
const waiting = new Map();
let name = "";
let room = "";
let told = 0;

// --- the connection --------------------------------------------------------------------------------------------------

// After these the same again would come to nothing: what we sent was not understood, too much, or not wanted.
const FINAL = new Set([1003, 1007, 1008, 1009]);
// The server is leaving and another one is expected at once.
const LEAVING = new Set([1001, 1012]);
const LONGEST = 30_000;

let socket = null;
let tries = 0;
let timer = 0;

function connect() {
  clearTimeout(timer);
  say("connecting", "Connecting…");
  const address = new URL("chat", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  address.search = new URLSearchParams({ name, page, room, told });
  const mine = new WebSocket(address);
  socket = mine;
  mine.onmessage = ({ data }) => {
    if (socket !== mine) return;
    if (tries >= 0) opened();
    news(JSON.parse(data));
  };
  mine.onclose = ({ code, reason }) => {
    if (socket === mine) closed(code, reason);
  };
}

// Not when the handshake is over, but when the room has answered: a server that accepts and then fails is no success.
function opened() {
  tries = -1;
  say("open", "Connected");
  for (const id of waiting.keys()) send(id);
}

function closed(code, reason) {
  socket = null;
  if (FINAL.has(code)) {
    say("closed", `The server ended this: ${reason || code}. Reload the page to come back.`);
    return;
  }
  // Twice as long each time, and never all pages at the same moment: a server that has just started needs that most.
  tries += 1;
  const wait = LEAVING.has(code) ? 1000 : Math.min(LONGEST, 1000 * 2 ** tries);
  const delay = wait * (0.25 + 0.75 * Math.random());
  const when = delay < 1500 ? "in a moment" : `in ${Math.round(delay / 1000)} s`;
  say("closed", navigator.onLine ? `Connection lost. Trying again ${when}.` : "You are offline.");
  timer = setTimeout(connect, delay);
}

addEventListener("online", () => name && !socket && connect());
// Nobody would tell the socket for minutes.
addEventListener("offline", () => hangUp(() => closed(1006, "")));

// A browser may keep a page that was left, with its connection, to show it again on "back": its owner would still be in the room.
addEventListener("pagehide", () => hangUp(() => clearTimeout(timer)));
addEventListener("pageshow", ({ persisted }) => persisted && name && connect());

function hangUp(then) {
  const lost = socket;
  socket = null;
  then();
  lost?.close();
}

function send(id) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ id, text: waiting.get(id) }));
}

// --- what is shown ---------------------------------------------------------------------------------------------------

function say(state, words) {
  document.body.dataset.state = state;
  $("status").textContent = words;
}

function news({ room: here, messages, missed, present }) {
  // Another process: its numbers say nothing about what we have seen, the ids do.
  if (room !== here) [room, told] = [here, 0];
  const atEnd = $("scroll").scrollHeight - $("scroll").scrollTop - $("scroll").clientHeight < 40;
  if (missed) note(`${missed} more ${missed === 1 ? "message was" : "messages were"} said meanwhile.`);
  for (const message of messages) {
    told = message.number;
    if (seen.has(message.id)) continue;
    seen.add(message.id);
    const own = waiting.delete(message.id);
    document.querySelector(`#waiting [data-id="${CSS.escape(message.id)}"]`)?.remove();
    $("messages").append(line(message, own));
  }
  if (present) {
    $("people").replaceChildren(...present.map((who) => element("li", who)));
    $("count").textContent = present.length;
  }
  if (atEnd) toEnd();
}

function line({ id, name: who, text, at }, own) {
  const item = element("li");
  item.dataset.id = id;
  if (own) item.className = "mine";
  const time = element("time", at ? new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : "not sent yet");
  if (at) time.dateTime = at;
  item.append(element("b", own ? "You" : who), time, element("p", text));
  return item;
}

function note(words) {
  const item = element("li", words);
  item.className = "note";
  $("messages").append(item);
}

// What others say becomes text and never markup.
function element(tag, text = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function toEnd() {
  $("scroll").scrollTop = $("scroll").scrollHeight;
}

// --- what somebody does ----------------------------------------------------------------------------------------------

$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  const id = newId();
  waiting.set(id, text);
  $("waiting").append(line({ id, text }, true));
  $("text").value = "";
  toEnd();
  send(id);
});

$("who").addEventListener("cancel", (event) => event.preventDefault());
$("who").addEventListener("close", () => {
  name = $("name").value.trim();
  if (!name) return $("who").showModal();
  localStorage.setItem("name", name);
  $("text").focus();
  connect();
});

$("name").value = localStorage.getItem("name") ?? "";
$("who").showModal();
