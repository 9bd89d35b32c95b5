"""How the analysis looks as a page: light or dark as the reader's system is, one hue for heat, one colour a part."""

STYLE = """
:root{color-scheme:light dark;--paper:#fbfaf8;--card:#fff;--ink:#1f2328;--soft:#656d76;--line:#e4e1dc;--hot:#c2410c;
--cold:#fff;--ok:#1a7f5a;--schema:#3d7cc9;--code:#8a8f98;--queries:#2a8f93;--writers:#c98a06;--transactions:#c8382f}
@media(prefers-color-scheme:dark){:root{--paper:#14161a;--card:#1b1e23;--ink:#e3e6ea;--soft:#959da8;--line:#2c3037;
--hot:#fb8b4a;--cold:#1b1e23;--ok:#4fc494;--schema:#74aef0;--code:#8f96a1;--queries:#5cc3c6;--writers:#e0b040;
--transactions:#f0716a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:74rem;padding:3.5rem 1.5rem 4rem;background:var(--paper);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
code{font:.88em/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
a{color:inherit;text-underline-offset:3px;text-decoration-color:var(--soft)}
:focus-visible{outline:2px solid var(--schema);outline-offset:2px;border-radius:4px}
.eyebrow,.lede,.note{margin:0;color:var(--soft)}
h1{overflow-wrap:anywhere}
h1{margin:.1rem 0 .6rem;font-size:clamp(2.2rem,6vw,3.4rem);line-height:1.1;font-weight:650;letter-spacing:-.03em}
.ground{margin:1.4rem 0 0;color:var(--soft)}
.stay h1{color:var(--ok)}
h2{margin:3.2rem 0 .4rem;font-size:1.35rem;font-weight:620;letter-spacing:-.01em}
h3{margin:1.3rem 0 .2rem;font-size:1rem;font-weight:600}
h3 small{font-weight:400;color:var(--soft)}
.reasons{margin:.6rem 0 0;padding:0 0 0 1.1rem;max-width:62rem}
.reasons li{margin:.25rem 0}
.figures{display:flex;flex-wrap:wrap;gap:2.2rem;margin:1.8rem 0 0;padding:0;list-style:none}
.figures b{display:block;font-size:1.7rem;line-height:1.15;font-weight:620;font-variant-numeric:tabular-nums;
letter-spacing:-.02em}
.figures span{color:var(--soft)}
.scroll{overflow-x:auto}
.map{display:block;max-width:100%;height:auto;margin:1rem 0 .4rem}
.map text{fill:var(--ink);font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
.map .axis{fill:var(--soft);font-size:12px}
.map .n{text-anchor:middle;dominant-baseline:central;font-variant-numeric:tabular-nums;font-size:12.5px;
pointer-events:none}
.map .n{fill:#000}.map .hot-light{fill:#fff}
@media(prefers-color-scheme:dark){.map .n{fill:#fff}.map .hot-dark{fill:#000}}
.map rect{rx:4;stroke:transparent;stroke-width:2;fill:color-mix(in oklab,var(--hot) var(--heat),var(--cold))}
.map .self{fill:var(--line);opacity:.55}
.map .none{fill:var(--card);stroke:var(--line);stroke-width:1}
.map a:hover rect,.map a:focus rect{stroke:var(--ink)}
.legend{display:flex;flex-wrap:wrap;gap:.4rem 1.1rem;align-items:center;color:var(--soft);font-size:.92em}
.legend i{display:inline-block;width:.75em;height:.75em;border-radius:3px;margin-right:.45em;background:var(--part);
vertical-align:-.04em}
.scale{display:inline-block;width:9rem;height:.75em;border-radius:3px;border:1px solid var(--line);
background:linear-gradient(90deg in oklab,var(--cold),var(--hot))}
table{border-collapse:collapse;width:100%;margin-top:.6rem}
th,td{padding:.45rem .75rem;text-align:left;vertical-align:top;font-weight:400}
th:first-child,td:first-child{padding-left:0}
thead th{color:var(--soft);font-size:.86em;white-space:nowrap}
tbody tr{border-top:1px solid var(--line)}
tbody th{font-weight:550;white-space:nowrap}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bar{width:34%;min-width:9rem;vertical-align:middle}
.bar svg{display:block;width:100%;height:12px;border-radius:3px;overflow:hidden}
.bar rect{fill:var(--part)}
.schema{--part:var(--schema)}.code{--part:var(--code)}.queries{--part:var(--queries)}
.writers{--part:var(--writers)}.transactions{--part:var(--transactions)}
details{margin:.7rem 0 0;border:1px solid var(--line);border-radius:8px;background:var(--card);scroll-margin-top:1rem}
summary{display:flex;gap:1rem;align-items:baseline;padding:.6rem .95rem;cursor:pointer;list-style:none}
summary::-webkit-details-marker{display:none}
summary::after{content:"";width:.45em;height:.45em;border:solid var(--soft);border-width:0 1.5px 1.5px 0;
transform:rotate(45deg) translate(-2px,-2px)}
[open]>summary::after{transform:rotate(225deg) translate(-2px,-2px)}
summary b{font-weight:580;min-width:0;overflow-wrap:anywhere}
summary .what{color:var(--soft);flex:1;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
summary .points{flex:none;font-variant-numeric:tabular-nums}
.body{padding:0 .95rem .95rem}
.body ul{margin:.2rem 0 0;padding:0;list-style:none}
.body li{padding:.28rem 0;border-top:1px solid var(--line)}
.body li code{color:var(--soft)}
.remedy{margin:0;color:var(--soft)}
footer{margin-top:3.5rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--soft);font-size:.9em}
@media(max-width:46rem){.bar{display:none}tbody th{white-space:normal;overflow-wrap:anywhere;min-width:8rem}}
.groups{margin:.4rem 0 0;padding:0 0 0 1.1rem;color:var(--soft);overflow-wrap:anywhere}
"""
