"""How the study page looks: calm on screens, light and dark, and on paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c2126; --soft: #5d6771; --rule: #dde2e6; --wash: #f5f7f8;
  --good: #2f7d55; --warn: #b45309; --open: #6b7680; --made: #b36a00;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --ink: #e3e7ea; --soft: #9aa5ae; --rule: #2d343a; --wash: #1c2125;
    --good: #5fbf8d; --warn: #f0a33a; --open: #8d98a1; --made: #f0a33a;
  }
  .series-1 { color: #5fb3ea; } .series-2 { color: #f08a4b; } .series-3 { color: #45c69b; }
  .series-4 { color: #dba3c2; } .series-5 { color: #8fd0f5; } .series-6 { color: #d6b53c; }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif;
}
main { max-width: 1180px; margin: 0 auto; padding: 40px 28px 32px; }
h1 { font-size: 27px; line-height: 1.2; font-weight: 600; margin: 0; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 18px; font-weight: 600; margin: 0 0 10px; }
h3 { font-size: 15px; font-weight: 600; margin: 18px 0 6px; }
h3 small, th small, span small { font-weight: 400; color: var(--soft); font-size: 0.9em; }
section { margin-top: 38px; }
.lead { font-size: 17px; color: var(--soft); margin: 6px 0 0; }
.note { color: var(--soft); font-size: 13px; margin: 8px 0 12px; max-width: 82ch; }
.verdict {
  margin: 18px 0 0; padding: 10px 16px; background: var(--wash); border-left: 4px solid var(--open);
  overflow-wrap: anywhere;
}
.verdict + .verdict { margin-top: 8px; }
.verdict.good { border-color: var(--good); }
.verdict.warn { border-color: var(--warn); }

.views { display: grid; gap: 14px; align-items: start; }
.views.pair { max-width: 640px; margin-top: 14px; }
figure { margin: 0; min-width: 0; }
.frame { position: relative; background: #000; margin-right: 7px; }
.frame img { display: block; width: 100%; height: auto; }
.frame img.coarse { image-rendering: pixelated; }
.frame.made-s, .frame.made-d { outline: 2px solid var(--made); }
figcaption { font-size: 13px; color: var(--soft); margin-top: 5px; }
figcaption.made-s, figcaption.made-d { color: var(--made); font-weight: 600; }
.side, .bar {
  position: absolute; color: #d7dde2; font-size: 11px; line-height: 1;
  text-shadow: 0 0 3px #000, 0 0 3px #000;
}
.side.left { left: 5px; top: calc(50% - 6px); }
.side.right { right: 5px; top: calc(50% - 6px); }
.side.top { top: 5px; left: 0; right: 0; text-align: center; }
.side.bottom { bottom: 5px; left: 0; right: 0; text-align: center; }
.bar { right: 7px; bottom: 7px; border-bottom: 2px solid #d7dde2; padding-bottom: 3px; text-align: center; }
.strip { position: absolute; }
.strip svg { position: absolute; width: 100%; height: 100%; }
.strip.beside { left: calc(100% + 3px); top: 0; bottom: 0; width: 5px; }
.strip.below { top: calc(100% + 2px); left: 0; right: 0; height: 3px; }
.key { margin: 14px 0 0; font-size: 13px; }
.key span { margin-right: 18px; }
.key i { display: inline-block; width: 11px; height: 11px; margin-right: 6px; vertical-align: -1px; }

.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums lining-nums; }
th, td {
  text-align: left; font-weight: 400; padding: 5px 22px 5px 0; vertical-align: baseline; overflow-wrap: break-word;
}
.words td { overflow-wrap: anywhere; max-width: 640px; }
.sub { padding-left: 16px; }
thead th { font-weight: 600; border-bottom: 1.5px solid var(--soft); vertical-align: bottom; white-space: nowrap; }
tbody th:first-child { white-space: nowrap; }
tbody tr { border-bottom: 1px solid var(--rule); }
.number { text-align: right; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
.plot { max-width: 860px; margin-top: 18px; font-size: 12px; }
.plot svg { display: block; width: 100%; height: auto; }
ul { margin: 0; padding-left: 20px; max-width: 90ch; }
footer { margin-top: 44px; padding-top: 12px; border-top: 1px solid var(--rule); color: var(--soft); font-size: 13px; }

@media (max-width: 640px) {
  .views { grid-template-columns: 1fr !important; }
  main { padding: 24px 16px; }
}
@page { margin: 13mm; }
@media print {
  body { font-size: 11px; line-height: 1.4; }
  main { max-width: none; padding: 0; }
  h1 { font-size: 20px; }
  h2 { font-size: 14px; margin-bottom: 6px; }
  h3 { font-size: 12px; margin-top: 12px; }
  h2, h3, section > .note:first-of-type { break-after: avoid; }
  .lead { font-size: 13px; }
  .note, figcaption, .key, footer { font-size: 10px; }
  table { font-size: 10.5px; }
  th, td { padding: 3px 12px 3px 0; }
  thead th { white-space: normal; }
  .table { overflow: visible; }
  .plot { max-width: 540px; margin-top: 12px; }
  .views.pair { max-width: 440px; }
  .views, .plot, table, .verdict { break-inside: avoid; }
  section { margin-top: 22px; }
  .frame, .strip, .key i, .verdict { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
