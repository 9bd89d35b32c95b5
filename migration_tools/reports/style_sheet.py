"""How reports look as pages: light or dark as the reader's system is, one colour a class of what is told."""

STYLE = """
:root{color-scheme:light dark;--paper:#fbfaf8;--card:#fff;--ink:#1f2328;--soft:#656d76;--line:#e4e1dc;
--ok:#1a7f5a;--bad:#b4232c;--mark:#ffe5a3;--missing:#c8382f;--extra:#8250c4;--changed:#c98a06;
--lost_update:#d1497f;--precision_or_type:#3d7cc9;--orphan:#2a8f93;--invariant:#8a5cc9}
@media(prefers-color-scheme:dark){:root{--paper:#14161a;--card:#1b1e23;--ink:#e3e6ea;--soft:#959da8;--line:#2c3037;
--ok:#4fc494;--bad:#ff7b78;--mark:#6a4f0b;--missing:#f0716a;--extra:#b18af0;--changed:#e0b040;
--lost_update:#f083ad;--precision_or_type:#74aef0;--orphan:#5cc3c6;--invariant:#b794f0}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:62rem;padding:3.5rem 1.5rem 4rem;background:var(--paper);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
code{font:0.9em/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre-wrap;
overflow-wrap:anywhere}
a{color:inherit;text-underline-offset:3px;text-decoration-color:var(--soft)}
:focus-visible{outline:2px solid var(--precision_or_type);outline-offset:2px;border-radius:4px}
.eyebrow{margin:0;color:var(--soft)}
h1{margin:.1rem 0 .2rem;font-size:clamp(2.4rem,7vw,3.8rem);line-height:1.1;font-weight:650;
letter-spacing:-.03em;font-variant-numeric:tabular-nums}
h1:first-letter{text-transform:uppercase}
.equal h1{color:var(--ok)}.unequal h1{color:var(--bad)}
.lede{margin:0;color:var(--soft);font-variant-numeric:tabular-nums}
svg{display:block;width:100%;height:6px;border-radius:3px;overflow:hidden}
header svg{height:10px;border-radius:5px;margin-top:1.75rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%}
th,td{padding:.5rem .75rem;text-align:left;vertical-align:top;font-weight:400}
thead th{color:var(--soft);font-size:.85em;white-space:nowrap}
.n{text-align:right;font-variant-numeric:tabular-nums}
.overview{margin:2.25rem 0 0}
.overview th:first-child{padding-left:0}
.overview tbody tr{border-top:1px solid var(--line)}
.overview td,.overview th{vertical-align:middle}
.overview .bar{width:30%;padding-right:0}
.ok{color:var(--ok)}.uneven{color:var(--bad)}
.filters{display:flex;flex-wrap:wrap;gap:.5rem;margin:2.75rem 0 0;padding:0;border:0}
.filters label{display:inline-flex;align-items:center;gap:.45em;padding:.3rem .8rem;
border:1px solid var(--line);border-radius:99px;background:var(--card);cursor:pointer}
.filters b{font-weight:500;color:var(--soft);font-variant-numeric:tabular-nums}
.filters input{position:absolute;opacity:0;pointer-events:none}
.filters label:has(:checked){border-color:var(--ink);box-shadow:inset 0 0 0 1px var(--ink)}
.filters label:has(:focus-visible){outline:2px solid var(--precision_or_type);outline-offset:2px}
i{display:inline-block;width:.6em;height:.6em;border-radius:50%;background:var(--kind);flex:none}
rect{fill:var(--kind,var(--line))}
section{margin-top:2.25rem;scroll-margin-top:1rem}
h2{display:inline;font-size:1.1rem;font-weight:600}
h2 span{color:var(--soft);font-weight:400}
.count{display:inline;margin:0 0 0 .6rem;color:var(--soft)}
.list{margin-top:.9rem;border:1px solid var(--line);border-radius:8px;background:var(--card)}
.list:empty{display:none}
.difference+.difference{border-top:1px solid var(--line)}
summary{display:grid;grid-template-columns:10.5rem minmax(6rem,12rem) 1fr auto;gap:.75rem;
align-items:baseline;padding:.55rem .9rem;cursor:pointer;list-style:none;border-radius:8px}
summary::-webkit-details-marker{display:none}
summary::after{content:"";width:.45em;height:.45em;border:solid var(--soft);border-width:0 1.5px 1.5px 0;
transform:rotate(45deg) translate(-2px,-2px)}
[open]>summary::after{transform:rotate(225deg) translate(-2px,-2px)}
.kind{display:inline-flex;align-items:center;gap:.5em;white-space:nowrap}
.columns{color:var(--soft);overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
[open]>summary .columns{visibility:hidden}
.body{padding:0 .9rem .9rem}
.body>p{margin:.1rem 0 .3rem;color:var(--soft)}
.fields{table-layout:fixed}
.fields th:first-child{width:13rem;padding-left:0}
.fields tbody tr:not(.remark){border-top:1px solid var(--line)}
.fields small{color:var(--soft)}
.fields th small{display:block}
.remark td{padding-top:0}
.remark small+.paths{margin-top:.2rem}
.paths{display:flex;flex-wrap:wrap;gap:.1rem 1rem}
mark{background:var(--mark);color:inherit;border-radius:3px;padding:.05em 0}
.null{font-variant:all-small-caps;letter-spacing:.04em;color:var(--bad)}
.shape{color:var(--soft);overflow-wrap:anywhere}
.rest,footer{color:var(--soft)}
footer{margin-top:3.5rem;padding-top:1rem;border-top:1px solid var(--line);font-size:.9em}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@media(max-width:40rem){body{padding:2rem 1rem}summary{grid-template-columns:1fr auto}
.columns{display:none}.key{grid-row:2}.fields th:first-child{width:8rem}}
@media print{body{max-width:none;padding:0}.filters{display:none}.difference{break-inside:avoid}}
"""
