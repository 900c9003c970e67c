// Renews the session of the Usage page before it ends, without touching the frame that is looked at: a second
// frame, out of sight, is opened by a new link and leaves its cookie, which both have in common.
const every = Number(document.getElementById('usage').dataset.renew);
let renewed = Date.now();
let underWay = false;

function renew() {
  if (underWay) return;
  underWay = true;
  renewed = Date.now();
  const frame = document.createElement('iframe');
  frame.hidden = true;
  frame.src = '/usage/frame';
  frame.addEventListener('load', () => {
    frame.remove();
    underWay = false;
  });
  document.body.append(frame);
}

setInterval(renew, every);
// Timers stand still while a machine sleeps.
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && Date.now() - renewed > every) renew();
});
