// Renews the session of the Usage page before it ends, without touching the frame that is looked at: a second
// frame, out of sight, is opened by a new link and leaves its cookie, which both have in common.

/** Half of the session's life, in milliseconds. */
const half = Number(document.getElementById('usage').dataset.renew);
/** How long a frame may take, and the wait before another try: there is time for several before the end. */
const patience = Math.min(half / 3, 20_000);
const pause = half / 6;

let renewed = Date.now();
let next = setTimeout(renew, half);
let frame = null;

function renew() {
  if (frame) return;
  clearTimeout(next);
  frame = document.createElement('iframe');
  frame.hidden = true;
  frame.src = '/usage/frame';
  const limit = setTimeout(() => done(false), patience);
  frame.addEventListener('load', () => {
    clearTimeout(limit);
    // What can be read is this app's own answer, which made no link.
    done(frame.contentDocument === null);
  });
  document.body.append(frame);
}

function done(well) {
  frame.remove();
  frame = null;
  if (well) renewed = Date.now();
  next = setTimeout(renew, well ? half : pause);
}

// Timers stand still while a machine sleeps.
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && Date.now() - renewed > half) renew();
});
