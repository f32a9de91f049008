"""How loops for one CPU core are compiled, and what they say that Python has no words for.

The first sample after installation waits for all kernels. What keeps that short: flat arrays, unsigned indices (numba
wraps negative ones around), no views, slices or allocations, and drivers in Python; numba's own typing and lowering
take the time, not LLVM.
"""

import functools
from typing import Any, Literal

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

kernel = functools.partial(numba.njit, cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
"""Decorator of a kernel; options are those of `numba.njit`. Its cache on disk follows its own file alone."""
part = functools.partial(kernel, no_cpython_wrapper=True)
"""The same for what other kernels alone call: without an entrance from Python, where a call would crash, it compiles
faster."""


# numba compiles its own min and max anew for every pair of types: a second for all.
@intrinsic
def prefetch(typing_context, values, at):
    """Ask for the cache line of values[at], an array of one dimension, ahead of its use; at may lie anywhere."""
    signature = types.void(values, at)

    def codegen(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        place = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        # To be read, kept close, data.
        builder.call(function, [place, *(ir.Constant(number, code) for code in (0, 3, 1))])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def smaller(typing_context, a, b):
    """a where a < b, else b, in the type that holds both."""
    return _pick(typing_context, a, b, "<")


@intrinsic
def larger(typing_context, a, b):
    """a where a > b, else b, in the type that holds both."""
    return _pick(typing_context, a, b, ">")


def _pick(typing_context: Any, a: types.Type, b: types.Type, order: Literal["<", ">"]) -> tuple[Any, Any]:
    both = typing_context.unify_types(types.unliteral(a), types.unliteral(b))

    def codegen(context, builder, signature, arguments):
        first, second = (
            context.cast(builder, value, given, both) for value, given in zip(arguments, signature.args, strict=True)
        )
        if isinstance(both, types.Float):
            chosen = builder.fcmp_ordered(order, first, second)
        else:
            compare = builder.icmp_signed if both.signed else builder.icmp_unsigned
            chosen = compare(order, first, second)
        return builder.select(chosen, first, second)

    return both(a, b), codegen
