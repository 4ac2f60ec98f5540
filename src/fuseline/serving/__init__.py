"""One model behind HTTP: the same predict.py that scores batches, or any Python file.

| what | module | its noun |
|---|---|---|
| started by | `commands` | `fuseline serve`, `try` and `key` |
| | `serve` | what is to be served, and the process that does it |
| | `trial` `sent` | one request without a server; what stands behind `--input` and `--form` |
| kept alive by | `keeper` `kept` `child` | who holds the address; the process that answers, from outside and inside |
| | `listener` `memory` | uvicorn on a shared socket; how much memory a process has |
| where models come from | `target` | TARGET of the command line |
| | `champion` `trail` `beside` | a project: its ledger followed, and the tables that its rows are joined to |
| | `script` `loader` | a file, loaded, and loaded anew when it is edited |
| the models | `scored` | a version of a project |
| | `reader` `lookups` `isolate` | JSON to columns of the contract; joined tables; rows that the model fails on |
| | `folded` `features` | a pipeline of known steps as one sum of weights, and how its steps are read |
| | `plain` `hooks` `estimator` | any Python object: its functions, or those of scikit-learn |
| | `intake` `outcome` `coroutines` | what its first function is given, what its last returned, and `async` ones |
| the API | `api` | the ASGI application: routes, the way to the model, what is counted |
| | `message` `forms` `bounds` | a request and its reply; forms; what one may hold |
| | `keys` `worker` | who may ask; the thread in which a model works |
| | `v2` `tensors` | the Open Inference Protocol |
| | `openapi` `schemas` | the document of the API |
| | `page` `description` | the pages, and what they are told of the model |
| | `journal` `gauges` | the log, and Prometheus |
| | `traffic` `exchange` `spool` | requests as batches; one line of them; where they wait |
| between all of them | `served` `problem` | what a model and a source look like; what is wrong with a request |
"""
