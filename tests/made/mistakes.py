"""Commands as a user would type them, with something wrong, and the words of the answer.

Names in braces are places that a test fills in, see ``tests.made.wrong_inputs``. ``{out}`` is where
nothing is yet.
"""

from __future__ import annotations

SEARCH = "search --source {catalogue} {where} {days} --out {out}"
BUILD = "--quiet build --scenes {scenes} {where} --out {out} {client}"
AGAIN = "--quiet build --scenes {scenes} {where} --block 16 --out {cube} {client}"
EMBED = "embed {cube} {model} --dates 2018-05-11 --out {out} {client}"
DECODE = "decode {cube} {model} --sensor sentinel-2-l2a --dates 2018-05-11 --out {out} {client}"
FIELDS = "fields {cube} {field.geojson} --model {model} --sensor sentinel-2-l2a --out {out}.nc"
TRAIN = "--quiet train {cube} --steps 1 --out {out}"
SHOW = "show {cube} --out {out}.png"
EXPORT = "export {cube} --out {out}.zarr"

REGIONS = {
    "1,2,3": "has 3 numbers; give minx,miny,maxx,maxy in degrees",
    "a,b,c,d": "file 'a,b,c,d' does not exist; give the path of a GeoJSON file .or .* or minx",
    "": "The region is empty; give minx,miny,maxx,maxy",
    "nan,1,2,3": "has no finite corners",
    "3.1,50.8,3.0,50.9": "ends before it begins",
    "3,50,3,51": "has no area",
    "500000,5629000,501000,5630000": "no degrees of longitude and latitude; reproject it",
    "50.815,3.019,50.818,3.024": "where the region lies with x and y swapped: the longitude comes",
    "10,50,10.1,50.1": "No scene of .* was found in .* for the region 10,50,10.1,50.1 .* its "
    "8 items lie within 3.01931,50.81524,3.02498,50.81884; they are from 2018-05-01 to 2018-05-16",
    "nowhere.geojson": "file 'nowhere.geojson' does not exist",
    "{catalogue}": "cannot be read: Is a directory",
    "{noise}": "is no text, so no GeoJSON",
    "{empty}": "is not valid GeoJSON: Expecting value",
    "{broken.geojson}": "is not valid GeoJSON: Unterminated string",
    "{list.geojson}": "holds a list, not a geometry",
    "{topology.geojson}": r"is not valid GeoJSON \(Unknown geometry type: 'topology'\)",
    "{missing.geojson}": r"is not valid GeoJSON \(it has no 'coordinates'\)",
    "{words.geojson}": r"is not valid GeoJSON \(could not convert string to float: 'a'\)",
    "{nothing.geojson}": "is empty; give at least one Polygon",
    "{null.geojson}": "is empty; give at least one Polygon",
    "{point.geojson}": "is a Point of area 0; give a Polygon",
    "{bow.geojson}": "is not valid: Self-intersection",
}
"""A region, and what is said of it."""

PERIODS = {
    "--start 2018-02-30 --end 2018-05-31": "start '2018-02-30' is no date; give YYYY-MM-DD",
    "--start 2018-05-01 --end tomorrow": "end 'tomorrow' is no date",
    "--start '' --end 2018-05-31": "start '' is no date",
    "--start 01.05.2018 --end 31.05.2018": "start '01.05.2018' is no date",
    "--start 2018-06-01 --end 2018-05-01": "ends before it starts: from 2018-06-01 to 2018-05-01",
    "--start 1018-05-01 --end 2018-05-31": "1018-05-01 lies outside 1972 to 2100",
    "--start 2019-05-01 --end 2019-05-31": "No scene .* they are from 2018-05-01 to 2018-05-16",
}

SOURCES = {
    "planetery-computer": "Unknown source 'planetery-computer': it is none of planetary-computer",
    "''": "Unknown source ''",
    "ftp://somewhere/stac": "Unknown source 'ftp://somewhere/stac'",
    "http://": "is a URL without a host",
    "http://127.0.0.1:9": r"http://127.0.0.1:9 does not answer \(Connection refused\); check the a",
    "http://127.0.0.1:9/a.parquet": r"9/a.parquet cannot be read: Connection refused\.$",
    "{foreign}": "holds no catalog.json, no collection.json and no item as JSON",
    "{model}": "model.json is of the type None, not STAC",
    "{noise}": "is not valid JSON",
    "{dangling}": "gone.json cannot be read: No such file",
    "{barren}": "No scene of .* sought in the collections .* give another region, period or source",
    "{noise.parquet}": "cannot be read as stac-geoparquet",
    "{table.parquet}": "cannot be read as stac-geoparquet: no geoparquet metadata",
}

WHEN = {
    "''": "mean no date at all: the period is from 2018-05-01 to 2018-05-31. Give `monthly`, a",
    "weekly": "'weekly' .* is no date. Give `monthly`",
    "0D": "'0D' do not step forward; the step must be at least 1 day",
    "40000D": "steps of 40000 days are further apart than satellites have observed",
    "99999999999999999999D": "is no date",
    "2018-05-32": "'2018-05-32' .* is no date",
    "2018-05-11,foo": "'foo' .* is no date",
    "{empty}": "mean no date at all",
    "{dates}": "'monday' .*dates, line 2.* is no date",
    "nowhere.txt": "'nowhere.txt' .* is no date and no such file exists",
}

MODELS = {
    "nowhere": "nowhere/model.json: no such file; a model is a folder with model.json and weights",
    "{cube}": "model.json: no such file",
    "{no-weights}": "weights.safetensors: no such file",
    "{no-manifest}": "model.json: no such file",
    "{cut-weights}": "weights.safetensors: sha256 is .* the file was changed or cut short",
    "{cut-manifest}": "model.json: not valid JSON .* copy the folder again",
    "{other-bands}": r"sentinel-1-asc: the model reads the bands \['hh', 'hv'\], the cube has",
    "{other-units}": "sentinel-1-asc: the model reads 'linear', the cube has 'dB'",
    "{other-sensor}": r"knows the sensors \['landsat-c2-l2'\], the cube has .* none is shared",
}

PIXELS = {
    "40,0": "Pixel 40,0 lies outside the grid: x 501360 to 501760, .* or columns 0 to 39, row",
    "3.02,50.81": "lies outside the grid",
    "1": "is no pair of numbers X,Y",
    "here,there": "is no pair of numbers X,Y",
    "nan,1": "is no pair of numbers X,Y",
}

MISTAKES: list[tuple[str, str]] = [
    *((SEARCH.replace("{where}", f"--region '{text}'"), words) for text, words in REGIONS.items()),
    *((SEARCH.replace("{days}", text), words) for text, words in PERIODS.items()),
    *((SEARCH.replace("{catalogue}", text), words) for text, words in SOURCES.items()),
    *((f"{EMBED} --dates {text}", words) for text, words in WHEN.items()),
    *((EMBED.replace("{model}", text), words) for text, words in MODELS.items()),
    *((f"{SHOW} --pixel={text}", words) for text, words in PIXELS.items()),
    # search
    (f"{SEARCH} --sensor sentinel-3", "Unknown sensor sentinel-3; known are sentinel-2-l2a, sent"),
    (f"{SEARCH} --offset lots", "offset 'lots' cannot be used; give a sensor and a number, such"),
    (f"{SEARCH} --offset sentinel-2-l2a=nan", "offset 'sentinel-2-l2a=nan' cannot be used"),
    (f"{SEARCH} --offset sentinel-9=0", "offset is stated for sentinel-9, but requested are senti"),
    (f"{SEARCH} --sources nowhere.toml", "There is no TOML file 'nowhere.toml'"),
    (f"{SEARCH} --sources {{noise}}", "is no TOML"),
    (
        f"{SEARCH} --sensor sentinel-1-asc".replace("{catalogue}", "copernicus"),
        "copernicus has sentinel-1-asc only as sentinel-1-grd, which cannot be used: ground range",
    ),
    (f"{SEARCH} --sensor sentinel-1-desc", "8 items .* can be used; the first, S1_3: it is ascend"),
    (f"{SEARCH} --sensor landsat-c2-l2", "8 items .* is of landsat-c2-l2; .* collections sentinel"),
    (f"--quiet {SEARCH} --out {{foreign}}", "scenes cannot be written to .*: Is a directory"),
    (f"--quiet {SEARCH} --out {{file}}/x.parquet", "cannot be written to .*: (Not a dir|File ex)"),
    (f"--quiet {SEARCH} --out {{file}}", "is there and is no file of `terralatent search`; ch"),
    (f"--quiet {SEARCH} --out {{table.parquet}}", "is there and is no file of `terralatent"),
    (f"--quiet {SEARCH} --out /proc/x.parquet", "cannot be written to /proc/x.parquet: No such"),
    # build: what to build
    (f"{BUILD} --region 10,50,10.1,50.1", "No scene touches the region 10,50,10.1,50.1; .* within"),
    (f"{BUILD} --region 50.815,3.019,50.818,3.024", "lies with x and y swapped"),
    (f"{BUILD} --region {{earth.geojson}}", "makes .* pixels of this region; give a coarser one"),
    (f"{BUILD} --scenes nowhere.parquet", "There is no file of scenes 'nowhere.parquet'; make one"),
    (f"{BUILD} --scenes {{noise.parquet}}", "cannot be read as stac-geoparquet"),
    (f"{BUILD} --scenes {{cut.parquet}}", "cannot be read as stac-geoparquet"),
    (f"{BUILD} --scenes {{scribbled.parquet}}", "is damaged: the request of its search .* Search"),
    (f"{BUILD} --sensor sentinel-3", "Unknown sensor sentinel-3"),
    (f"{BUILD} --sensor sentinel-1-desc", "None of the 8 items of .* is of sentinel-1-desc; they"),
    (f"{BUILD} --source {{catalogue}} --start 2018-05-01", "give either --scenes, or all of"),
    # build: how
    *((f"{BUILD} --resolution {size}", "is no pixel size; give metres above zero")
      for size in ("0", "-10", "nan", "inf")),
    (f"{BUILD} --resolution fine", "--resolution.*valid number"),
    (f"{BUILD} --resolution 1e-5", "makes .* pixels of this region"),
    (f"{BUILD} --resolution 1e9", "makes pixels wider than 100000"),
    (f"{BUILD} --crs EPSG:4326", "EPSG:4326 is in degrees; a cube needs a projected one in metres"),
    *((f"{BUILD} --crs '{crs}'", f"CRS '{crs}' is unknown; give one such as EPSG:32631")
      for crs in ("EPSG:999999", "utm", "")),
    *((f"{BUILD} --block {side}", f"A block of {side} pixels cannot be; take up to 64 or a mult")
      for side in ("0", "-1", "65", "100")),
    (f"{BUILD} --block half", "--block.*valid integer"),
    *((f"{BUILD} --memory '{size}'", words) for size, words in (
        ("0", "'0' must be above zero"), ("-1GB", "'-1GB' must be above zero"),
        ("lots", "'lots' is no size; give one such as 4GB"), ("4 apples", "is no size"),
        ("1MB", "A block of 256 pixels of sentinel-2-l2a takes .* MB a worker; give more --mem"),
    )),
    *((f"{verb} --client {where}", "neither `local`, .* nor the address of a Dask scheduler")
      for verb in (BUILD, EMBED) for where in ("remote", "127.0.0.1:8786", "''")),
    # build: where
    *((f"{verb} --out {{file}}", "is a file; a (store|model) is a folder. Choose another ")
      for verb in (BUILD, EMBED, DECODE, TRAIN)),
    *((f"{verb} --out {{file}}/x", "cannot be written: (Not a directory|File exists)")
      for verb in (BUILD, EMBED, DECODE, TRAIN)),
    *((f"{verb} --out {{foreign}}", "exists and (is no store|holds no training); choose another")
      for verb in (BUILD, EMBED, DECODE, TRAIN)),
    (f"{BUILD} --out {{latents}}", "is a latents store, not a cube store; choose another --out"),
    (f"{EMBED} --out {{cube}}", "is a cube store, not a latents store; choose another --out"),
    (f"{DECODE} --out {{latents}}", "is a latents store, not a bands store; choose another --out"),
    (f"{BUILD} --out ftp://somewhere/cube", "cannot write to ftp://; use a path, s3://, gs:// or"),
    (f"{BUILD} --out s3://bucket", "a store's URL names a bucket and a path, as s3://bucket/cube"),
    (f"{TRAIN} --out s3://bucket/model", "a model is a local folder; choose a path"),
    *((f"{verb} --out {{{place}}}/x.zarr", "/x.zarr lies inside the store .*; choose another --out")
      for verb in (f"--quiet {SEARCH}", BUILD, EMBED, DECODE, TRAIN, "export {latents}", "simulate")
      for place in ("cube", "plain", "repository")),
    ("show {latents} --out {cube}/new/x.png", "lies inside the store .*; choose another --out"),
    # another thing on the same store: the difference is named
    (f"{AGAIN} --resolution 20", r"grid.transform is \[10.0.* there, \[20.0.* here; grid.shape is"),
    (f"{AGAIN} --crs EPSG:32632", 'grid.crs is "EPSG:32631" there, "EPSG:32632" here'),
    (f"{AGAIN} --block 32", "else: block is 16 there, 32 here. Choose another --out, or run with"),
    (f"{AGAIN} --sensor sentinel-1-asc", "sensors.sentinel-2-l2a is .* there, absent here"),
    # earlier states
    ("status {cube} --at WHEN", "has no snapshot WHEN; its history, as `terralatent status`"),
    (f"{EMBED} --at 1CEC", "has no snapshot 1CEC"),
    (f"{SHOW} --at nothing", "has no snapshot nothing"),
    ("expire {cube} --older-than old", "'old' is no age; give one such as 30D or 12h"),
    ("expire {cube} --older-than 1D --release X", "keeps nothing for X; its history, as"),
    ("expire {foreign} --older-than 1D", "there is no store here"),
    ("status {foreign} --history", "there is no store here"),
    (f"{EMBED} --out {{latents}} --dates 2018-05-12", r"dates is \[.*05-11.* there, \[.*05-12.* h"),
    (f"{EMBED} --out {{latents}} --precision float32", 'precision is "packed" there, "float32" h'),
    (EMBED.replace("{model}", "{model-2}") + " --out {latents}", 'else: latents_hash is'),
    (f"{DECODE} --out {{bands}} --sensor sentinel-1-asc", 'sensor is "sentinel-2-l2a" there, "sen'),
    (f"{DECODE} --out {{bands}} --dates 2018-05-12", "holds something else: dates is"),
    (DECODE.replace("{model}", "{model-2}") + " --out {bands}", 'holds something else: model is'),
    # a store that is none, or of another kind
    *((verb.replace("{cube}", place), words)
      for verb in (EMBED, TRAIN)
      for place, words in (
          ("nowhere", "nowhere: there is no store here"),
          ("{foreign}", "there is no store here"),
          ("{file}", "there is no store here"),
          ("{latents}", "is a latents store; a cube store is wanted here"),
          ("s3://bucket", "a store's URL names a bucket and a path"),
      )),
    *((verb.replace("{cube}", place), "there is no store here")
      for verb in (SHOW, EXPORT) for place in ("nowhere", "{foreign}", "{file}", "{model}")),
    *((verb.replace("{cube}", f"{{{place}}}"), "is not of terralatent; a cube store is wanted here")
      for verb in (EMBED, DECODE, TRAIN) for place in ("plain", "repository")),
    *((verb.replace("{cube}", f"{{{place}}}"), "not of terralatent; a cube, latents or decoded ban")
      for verb in (SHOW, EXPORT, "status {cube}", "status {cube} --history",
                   "expire {cube} --older-than 1D")
      for place in ("plain", "repository")),
    *((f"{BUILD} --out {{{place}}}", "is not of terralatent; a cube, latents or decoded bands is")
      for place in ("plain", "repository")),
    ("status nowhere", "there is nothing here; a cube, latents, bands or a model is wanted"),
    # embed, decode and train
    (f"{EMBED} --precision int8", "'int8' is neither `packed` nor `float32`"),
    *((f"{verb} --device gpu", "evice 'gpu' is unknown; give auto, cpu, cuda")
      for verb in (EMBED, DECODE, TRAIN)),
    (f"{DECODE} --sensor sentinel-3", "'sentinel-3' is not one of the model's: landsat-c2-l2, sen"),
    (f"{DECODE} --dates weekly", "is no date. Give `monthly`"),
    (DECODE.replace("{model}", "{cut-weights}"), "sha256 is"),
    # means of fields
    (FIELDS.replace("{field.", "{point."), "Fields must be polygons, got 1 geometries of the k"),
    (FIELDS.replace("{field.", "{broken."), "broken.geojson. cannot be read as GeoJSON"),
    (f"{FIELDS} --by colour", "The fields have no column 'colour', which .*by"),
    (f"{FIELDS} --sensor sentinel-3", "'sentinel-3' is not one of the model's: landsat-c2-l2, sen"),
    (f"{FIELDS} --out {{out}}.csv", "is neither a table nor netCDF by its name; give one that end"),
    # what counts as clear
    *((f"{verb} --dilate -1", "dilate is -1 pixels; give 0 to 100")
      for verb in (EMBED, DECODE, TRAIN)),
    (f"{EMBED} --dilate many", "--dilate.*valid integer"),
    *((f"{verb} --clear-rule nowhere:clear", "function nowhere:clear cannot be loaded .ModuleNot")
      for verb in (EMBED, DECODE, TRAIN)),
    (f"{EMBED} --clear-rule SCL", "'SCL' is no clear-sky rule; give module:function, `stored`, or"),
    (f"{EMBED} --clear-rule '{{}}'", "The clear-sky rule {} cannot be used: .*needs either codes"),
    (f"{TRAIN} --clear-rule venus=stored", "A masking is given for venus; there are sentinel"),
    (f"{EMBED} --out {{latents}} --dilate 2", "masking is absent there, .*.dilate.: 2.* here"),
    (f"{EMBED} --out {{latents}} --outliers", "masking.* is absent there, .*outliers.* here"),
    (f"{SEARCH} --mask QA", "No sensor has a mask band 'QA'; there are SCL .sentinel-2"),
    (f"{BUILD} --mask QA", "No sensor has a mask band 'QA'"),
    (f"{TRAIN} --sensor venus", "no cube has acquisitions of venus; there are sentinel-1-asc, s"),
    (f"{TRAIN} --seed -1", "seed is -1; it must be at least 0"),
    (f"{TRAIN} --steps -1", "--steps"),
    (f"{TRAIN} --latents 0", "--latents"),
    # show
    *((SHOW.replace(".png", end), "end it in one of .png, .pdf, .svg or .jpg")
      for end in ("", ".xyz")),
    ("show {cube} --pixel 1,1 --out {file}/x.png", "Cannot write .*: (Not a dir|File exists)"),
    ("show {cube} --pixel 1,1 --out /proc/x.png", "Cannot write /proc/x.png: No such file"),
    (f"{SHOW} --sensor landsat-c2-l2", "has no sensor 'landsat-c2-l2'; it has sentinel-1-asc, s"),
    (f"{SHOW} --variable B99", "There is no band 'B99' here; there are B02, B0"),
    (f"{SHOW} --variable B99 --pixel 1,1", "'B99': sentinel-1-asc has vv, vh; sentinel-2-l2a has"),
    (f"{SHOW} --pixel 1,1 --date 2018-05-01", "give either a pixel or a date"),
    *((f"{SHOW} --date {date}", "is no ISO date, such as 2018") for date in ("2018-02-30", "''")),
    ("show {latents} --out {out}.png --variable 4", "no latent '4' here; there are 0 to 3, and `o"),
    ("show {latents} --out {out}.png --variable 1 --pixel 1,1", "leave the variable out"),
    ("show {latents} --out {out}.png --sensor sentinel-2-l2a", "leave the sensor out"),
    ("show {latents} --out {out}.png --pixel 99,1", "lies outside the grid"),
    ("show {bands} --out {out}.png --sensor sentinel-1-asc", "holds sentinel-2-l2a, not sentinel"),
    ("show {bands} --out {out}.png --variable vv", "There is no band 'vv' here; there are B02, B0"),
    ("show {bands} --out {out}.png --variable vv --pixel 1,1", "'vv' here; there are B02, B03, B0"),
    # export
    *((f"export {{cube}} --out {{{there}}}", "exists and is not this export; choose another folder")
      for there in ("file", "foreign", "cube", "latents", "plain", "repository")),
    ("export {cube} --out {file}/x.zarr", "Cannot write .*: (Not a directory|File exists)"),
    ("export {cube} --out s3://bucket/x", "exports go to a local folder; copy it from there"),
    ("export {cube} --out {out}.tif", "COGs go into a folder, a file for each date, not into"),
    ("export {cube} --out {out} --format pdf", "no format 'pdf'; there are zarr, cog, netcdf"),
    (f"{EXPORT} --format netcdf", "ends as zarr does, and --format is netcdf; change one of them"),
    ("export {cube} --out {out} --format netcdf", "a netCDF file ends in .nc; add that"),
    ("export {cube} --out {out}.png", "an export as Zarr is a folder, not a .png file"),
    ("export {cube} --out {out}.nc --shards no", "--shards is of --format zarr, not of netcdf"),
    ("export {cube} --out {out} --format cog --zarr-format 2", "--zarr-format is of --format zarr"),
    (f"{EXPORT} --files date", "--files is of --format cog, not of zarr; leave it out"),
    (f"{EXPORT} --zarr-format 2 --shards yes", "Zarr v2 has no shards; leave --shards out"),
    (f"{EXPORT} --zarr-format 1", "There is no Zarr format 1 to write; take 2 or 3"),
    (f"{EXPORT} --shards maybe", "--shards is yes or no, not 'maybe'"),
    (f"{EXPORT} --precision int8", "no precision 'int8'; there are packed, float32"),
    ("export {cube} --out {out} --format cog --files year", "cannot be a 'year'; take date or dim"),
    *((f"export {{cube}} --format cog --out {{{there}}}", "exists and is not this export; choose")
      for there in ("file", "foreign", "cube", "plain")),
    ("export {cube} --format cog --out {file}/x", "Cannot write .*: (Not a directory|File exists)"),
    ("export {cube} --format cog --out {latents}/x", "lies inside the store"),
    ("export {cube} --format cog --out {out} --sensor venus", "has no sensor 'venus'; it has"),
    ("export {cube} --out {out}.nc --date 2019-01-01", "has nothing on 2019-01-01; the nearest"),
    (f"{EXPORT} --sensor venus", "has no sensor 'venus'; it has sentinel-1-asc, sentinel-2-l2a"),
    (f"{EXPORT} --variable B02", "has no variable 'B02'; it has data, quality"),
    (f"{EXPORT} --date 2018-02-30", "is no ISO date, such as 2018-07-01"),
    (f"{EXPORT} --date ''", "is no ISO date"),
    (f"{EXPORT} --date 2019-01-01", "has nothing on 2019-01-01; the nearest date is 2018-05-16"),
    # serve and simulate
    ("serve nowhere", "There is no folder 'nowhere' to serve; give one with STAC items"),
    ("serve {file}", "There is no folder"),
    ("serve {foreign}", "holds no catalog.json"),
    ("serve {catalogue} --port 65535", "Port 65536 of 127.0.0.1 cannot be used"),
    ("simulate --out {out} --size 33", "give an even number of pixels, 32 or more"),
    ("simulate --out {out} --size 1000000", "Size 1000000 is too much"),
    ("simulate --out {out} --years 0", "give 1 or more"),
    ("simulate --out {out} --years 1000", "1000 years are too much"),
    ("simulate --out {out} --seed -1", "Seed -1 is below zero"),
    ("simulate --out {out} --climate lunar", "Unknown climate lunar; known are temperate, boreal"),
    ("simulate --out {file}", "exists and is no simulated region"),
    ("simulate --out {foreign}", "exists and is no simulated region"),
    ("simulate --out {file}/x", "Cannot write .*: Not a directory"),
]  # fmt: skip
