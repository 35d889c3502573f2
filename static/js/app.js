// Everything here is enhancement: pages and forms work without it; only live refresh does not.
(() => {
  'use strict';
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const on = (type, handler) => document.addEventListener(type, handler);
  const isPoll = (ctx) => ctx.sourceEvent?.type === 'every';
  const clock = () => new Date().toLocaleTimeString([], { hour12: false });

  // ---- htmx: five listeners; its attributes are in the templates ----
  const token = $('meta[name=csrf-token]')?.content;
  on('htmx:config:request', (e) => {
    const { request } = e.detail.ctx;
    if (token && !/^(GET|HEAD|OPTIONS)$/i.test(request.method)) request.headers['X-CSRFToken'] = token;
  });

  // A tab that nobody sees does not poll.
  on('htmx:before:request', (e) => {
    if (document.hidden && isPoll(e.detail.ctx)) e.preventDefault();
  });

  // What cannot be refreshed says so, and since when; the next good answer takes it back.
  let lastGood = clock();
  const strip = $('[data-lost]');
  const lost = () => {
    if (!strip?.hidden) return;
    strip.textContent = `Connection lost. Last update ${lastGood}. Trying again…`;
    strip.hidden = false;
  };
  on('htmx:after:request', (e) => {
    const { ctx } = e.detail;
    if (ctx.response.status < 500) {
      lastGood = clock();
      if (strip) strip.hidden = true;
    } else if (isPoll(ctx)) lost();
    else toast(`That did not work: the server answered ${ctx.response.status}.`, 'fail');
  });
  on('htmx:error', (e) => {
    if (e.detail.ctx && !e.detail.ctx.response) lost();
  });
  on('htmx:after:swap', () => {
    const title = $('[data-title]');
    if (title) document.title = title.dataset.title;
    $$('[data-say]').forEach((el) => tell(el));
  });

  // ---- saying things ----
  const said = new Set();
  const tell = (el, aloud = true) => {
    const key = `${el.id}:${el.dataset.say}`;
    if (said.has(key)) return;
    said.add(key);
    const region = $('#live');
    if (aloud && region) region.textContent = el.dataset.say;
  };
  $$('[data-say]').forEach((el) => tell(el, false));
  const toast = (text, kind = 'ok') => {
    const box = $('#toasts');
    if (!box) return;
    const item = document.createElement('div');
    item.className = `toast ${kind}`;
    item.textContent = text;
    box.append(item);
    setTimeout(() => item.remove(), 5000);
  };
  on('toast', (e) => toast(e.detail.text, e.detail.kind));

  // ---- relative times, in the words of format_ago (webapp/core/text.py), so that nothing jumps at the first refresh ----
  const distance = (seconds) => {
    const minutes = Math.round(seconds / 60), hours = Math.round(seconds / 3600);
    if (minutes < 60) return `${Math.max(minutes, 1)} min`;
    if (hours < 24) return `${hours} h`;
    if (hours < 168) return `${Math.floor(hours / 24)} d${hours % 24 ? ` ${hours % 24} h` : ''}`;
    return `${Math.round(seconds / 86400)} d`;
  };
  const refreshTimes = () => $$('time[data-rel]').forEach((el) => {
    const seconds = (Date.now() - Date.parse(el.dateTime)) / 1000, text = distance(Math.abs(seconds));
    el.textContent = Math.abs(seconds) < 45 ? (seconds >= 0 ? 'just now' : 'in under 1 min') : seconds > 0 ? `${text} ago` : `in ${text}`;
  });
  setInterval(refreshTimes, 30000);

  // ---- copying, also where the browser offers no clipboard (plain http) ----
  const copy = async (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.createElement('textarea');
    area.value = text;
    ($('dialog[open]') ?? document.body).append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  };

  // ---- clicks ----
  const openDialog = (link) => {
    const dialog = document.getElementById(link.dataset.dialog);
    dialog.addEventListener('close', () => link.focus(), { once: true });
    dialog.showModal();
  };
  on('click', (e) => {
    const hit = (name) => e.target.closest(`[data-${name}]`);
    const copied = hit('copy'), opener = hit('dialog'), closer = hit('close'), wrap = hit('wrap');
    if (copied) copy(copied.dataset.copy).then(() => toast('Copied'), () => toast('The browser did not allow copying.', 'fail'));
    if (opener) { e.preventDefault(); openDialog(opener); }
    if (closer) { e.preventDefault(); closer.closest('dialog').close(); }
    if (wrap) wrap.setAttribute('aria-pressed', $('.log').classList.toggle('wrap'));
    $$('details.menu[open]').forEach((menu) => { if (!menu.contains(e.target) || opener) menu.open = false; });
  });

  // ---- keys: / searches, Escape closes a menu ----
  on('keydown', (e) => {
    if (e.key === 'Escape') $$('details.menu[open]').forEach((menu) => { menu.open = false; $('summary', menu).focus(); });
    if (e.key !== '/' || e.metaKey || e.ctrlKey || e.altKey || e.target.closest('input, textarea, select, [contenteditable]')) return;
    const field = $('[data-hotkey="/"]');
    if (field) { e.preventDefault(); field.focus(); field.select(); }
  });

  // ---- typed confirmation, selecting rows ----
  $$('[data-gated]').forEach((button) => { button.disabled = true; });
  on('input', (e) => {
    const { must } = e.target.dataset;
    if (must) $('[data-gated]', e.target.form).disabled = e.target.value !== must;
  });
  on('change', (e) => {
    const fleet = e.target.closest('.fleet');
    if (!fleet) return;
    if (e.target.matches('[data-all]')) $$('tbody input[type=checkbox]', fleet).forEach((box) => { box.checked = e.target.checked; });
    const count = $('[data-count]', fleet);
    if (count) count.textContent = `${$$('tbody input:checked', fleet).length} selected`;
  });

  // ---- forms: leave only knowingly, send only once ----
  const state = (form) => new URLSearchParams([...new FormData(form)].map(([k, v]) => [k, String(v.name ?? v)])).toString();
  const guarded = $$('form[data-guard]').map((form) => ({ form, clean: state(form) }));
  const dirty = () => guarded.some(({ form, clean }) => !form.dataset.sent && state(form) !== clean);
  ['input', 'change'].forEach((type) => on(type, (e) => {
    const mark = e.target.form?.matches('[data-guard]') && $('[data-unsaved]', e.target.form);
    if (mark) mark.hidden = !dirty();
  }));
  window.addEventListener('beforeunload', (e) => { if (dirty()) e.preventDefault(); });
  on('submit', (e) => {
    const form = e.target;
    if (form.method !== 'post' || e.defaultPrevented || form.matches('[hx-post]')) return;
    if (form.dataset.sent) { e.preventDefault(); return; }
    form.dataset.sent = 'yes';
    setTimeout(() => delete form.dataset.sent, 4000);
  });
  window.addEventListener('pageshow', () => $$('form[data-sent]').forEach((form) => delete form.dataset.sent));
  $('[data-focus]')?.focus();

  // ---- live log: stays at its end until the reader scrolls up, and again when they return ----
  const log = $('.log'), follow = $('[data-follow]');
  if (log && follow) {
    const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const stick = () => { if (follow.checked) log.scrollTop = log.scrollHeight; };
    new MutationObserver(stick).observe(log, { childList: true, subtree: true });
    ['wheel', 'touchmove', 'keyup'].forEach((type) => log.addEventListener(type, () => { follow.checked = atEnd(); }, { passive: true }));
    follow.addEventListener('change', stick);
    if (!location.hash) stick();
    else follow.checked = false;
  }
})();
