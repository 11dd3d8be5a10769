// The page of the ticker. An EventSource comes back by itself when its stream ends, and tells the id of the last event. What it
// does not survive is an answer that is no stream, such as nginx's 502 while the application restarts; and it can not be
// paused. In both cases a new one is made here, with that id in its address.

const $ = (id) => document.getElementById(id);

const SPAN = 300;
const LONGEST = 30_000;

let source = null;
let last = 0;
let tries = 0;
let timer = 0;
const ticks = [];

function start() {
  say("connecting", "Connecting…");
  source = new EventSource(`events?after=${last}`);
  source.addEventListener("hello", ({ data }) => {
    tries = 0;
    say("open", "Live");
    const { after } = JSON.parse(data);
    $("resumed").textContent = after ? `This stream goes on behind ${after}.` : "This stream began with what the server had.";
    $("resumed").dataset.after = after;
  });
  source.onmessage = ({ data, lastEventId }) => add(Number(lastEventId), JSON.parse(data).load);
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) {
      say("connecting", "The stream ended. Coming back…");
      return;
    }
    const delay = Math.min(LONGEST, 1000 * 2 ** tries) * (0.5 + 0.5 * Math.random());
    tries += 1;
    say("connecting", "The server does not answer. Trying again…");
    timer = setTimeout(start, delay);
  };
}

function stop() {
  clearTimeout(timer);
  source?.close();
  say("paused", "Paused");
}

function say(state, words) {
  document.body.dataset.state = state;
  if ($("status").textContent !== words) $("status").textContent = words;
}

function add(id, load) {
  last = id;
  ticks.push([id, load]);
  while (ticks[0][0] <= id - SPAN) ticks.shift();
  $("load").textContent = load.toFixed(2);
  const row = document.createElement("tr");
  row.dataset.id = id;
  for (const text of [id, new Date(id * 1000).toLocaleTimeString(), load.toFixed(2)]) {
    row.append(Object.assign(document.createElement("td"), { textContent: text }));
  }
  $("events").prepend(row);
  while ($("events").rows.length > 100) $("events").lastElementChild.remove();
  draw(id);
}

// A line for each stretch without a gap: seconds that nobody measured are not drawn.
function draw(now) {
  const top = Math.max(1, ...ticks.map(([, load]) => load));
  let line = "";
  ticks.forEach(([id, load], i) => {
    const joined = i > 0 && ticks[i - 1][0] === id - 1;
    const x = 600 - ((now - id) * 600) / SPAN;
    line += `${joined ? "L" : "M"}${x.toFixed(1)} ${(136 - (132 * load) / top).toFixed(1)}`;
  });
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", line);
  $("chart").replaceChildren(path);
  $("highest").textContent = `top of the chart: ${top.toFixed(2)}`;
}

const paused = () => $("pause").getAttribute("aria-pressed") === "true";

$("pause").addEventListener("click", () => {
  $("pause").setAttribute("aria-pressed", String(!paused()));
  if (paused()) stop();
  else start();
});

// The first time, and when the browser shows the page again that it kept, with its stream, when it was left.
addEventListener("pageshow", () => paused() || start());
addEventListener("pagehide", stop);
